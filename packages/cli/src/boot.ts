/**
 * What the launcher runs: `hot.cjs` for what it holds, else `cli.cjs`, with code that V8 has compiled in an earlier run. Node's
 * own compile cache takes what is compiled when a file is loaded; this one is taken when a command has ended and holds every
 * function that it called, a tenth of the time of a short command. A file per verb, since verbs call different functions.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { Script } from 'node:vm';
import { bundles } from './bundles.ts';
import { codeCacheFolder } from './code-cache.ts';
import { hotNames } from './commands/hot-names.ts';
import { refusesNode } from './old-node.ts';

/** A hash of each of the two, set by the bundler: V8 itself compares only the length. */
declare const __CODEX_REMOTE_HOT__: string;
declare const __CODEX_REMOTE_CLI__: string;

type CommonJs = (
  exports: object,
  require: NodeJS.Require,
  module: { exports: object },
  filename: string,
  dirname: string,
) => void;

function boot(args: readonly string[]): void {
  const verb = args.slice(0, 2).join(' ');
  const isHot = hotNames.has(verb);
  const filename = `${__dirname}/${isHot ? 'hot.cjs' : 'cli.cjs'}`;
  const cache = cacheFile(verb, isHot ? __CODEX_REMOTE_HOT__ : __CODEX_REMOTE_CLI__);
  // The bundler writes ASCII, and require() for import(): code that is compiled here cannot import.
  const source = readFileSync(filename, 'latin1');
  const script = new Script(`(function (exports, require, module, __filename, __dirname) {${source}\n})`, {
    filename,
    cachedData: cache === undefined ? undefined : contentOf(cache),
  });
  // Undefined where nothing was offered.
  if (cache !== undefined && script.cachedDataRejected !== false)
    process.once('exit', (code) => keep(script, cache, code));
  const load: CommonJs = script.runInThisContext();
  const loaded = { exports: {} };
  load(loaded.exports, require, loaded, filename, __dirname);
  (loaded.exports as { readonly main: (args: readonly string[]) => void }).main(args);
}

function cacheFile(verb: string, hash: string): string | undefined {
  const folder = codeCacheFolder(process.env);
  const known = /^(?:(?:exec|file) [a-z]{1,10}|machine (?:check|list|show))$/.test(verb);
  if (folder === undefined || !known) return undefined;
  return `${folder}/${hash}-${process.version}-${process.arch}-${verb.replace(' ', '-')}`;
}

function contentOf(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

/** Not after wrong usage, nor what another bundle has run: both call little of the verb. A cache that cannot be written is none. */
function keep(script: Script, path: string, code: number): void {
  const others = bundles.some((name) => `${__dirname}/${name}` in require.cache);
  if (code === 2 || others) return;
  const fresh = `${path}.${process.pid}`;
  try {
    writeFileSync(fresh, script.createCachedData(), { mode: 0o600, flush: true });
    renameSync(fresh, path);
  } catch {
    rmSync(fresh, { force: true });
  }
}

if (!refusesNode()) boot(process.argv.slice(2));
