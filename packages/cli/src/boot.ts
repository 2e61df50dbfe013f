/**
 * What the launcher runs: `cli.cjs`, with code that V8 has compiled in an earlier run. Node's own compile cache takes what
 * is compiled when a file is loaded; this one is taken when a command has ended and holds every function that it called,
 * a tenth of the time of a short command. A file per verb, since verbs call different functions.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Script } from 'node:vm';
import { codeCacheFolder } from './code-cache.ts';

/** A hash of `cli.cjs`, set by the bundler: V8 itself compares only its length. */
declare const __CODEX_REMOTE_CLI__: string;

type CommonJs = (
  exports: object,
  require: NodeJS.Require,
  module: object,
  filename: string,
  dirname: string,
) => void;

const filename = join(__dirname, 'cli.cjs');
const cache = cacheFile();
// The bundler writes ASCII, and require() for import(): code that is compiled here cannot import.
const source = readFileSync(filename, 'latin1');
const script = new Script(`(function (exports, require, module, __filename, __dirname) {${source}\n})`, {
  filename,
  cachedData: cache === undefined ? undefined : contentOf(cache),
});
// Undefined where nothing was offered.
if (cache !== undefined && script.cachedDataRejected !== false)
  process.once('exit', (code) => keep(cache, code));
const main: CommonJs = script.runInThisContext();
main(exports, require, module, filename, __dirname);

function cacheFile(): string | undefined {
  const folder = codeCacheFolder(process.env);
  const verb = /^(?:(?:exec|file) [a-z]{1,10}|machine (?:check|list|show))$/.exec(
    process.argv.slice(2, 4).join(' '),
  )?.[0];
  if (folder === undefined || verb === undefined) return undefined;
  return join(folder, `${__CODEX_REMOTE_CLI__}-${process.version}-${process.arch}-${verb.replace(' ', '-')}`);
}

function contentOf(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

/** Not after wrong usage or help: those call little of the verb. A cache that cannot be written is none. */
function keep(path: string, code: number): void {
  const helped = join(__dirname, 'oclif.cjs') in require.cache;
  if (code === 2 || helped) return;
  const fresh = `${path}.${process.pid}`;
  try {
    writeFileSync(fresh, script.createCachedData(), { mode: 0o600, flush: true });
    renameSync(fresh, path);
  } catch {
    rmSync(fresh, { force: true });
  }
}
