/**
 * The program. Short commands are run from here, without oclif; help, and what is called rarely, by `oclif.cjs` beside
 * this file, and what works on trees by `sync.cjs`. Must not load `node:http`, zod or oclif: they cost more than the command.
 */
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';
import { codeCacheFolder } from './code-cache.ts';
import { isHot, isOfTrees, table } from './commands/all.ts';
import { writeNow } from './output.ts';
import { Shell } from './shell.ts';
import type { Parsed } from './table/parse.ts';

const oldestNode = 24;

function main(args: readonly string[]): void {
  if (Number.parseInt(process.versions.node, 10) < oldestNode) {
    refuseNode();
    return;
  }
  const tokens = table.tokenize(args);
  const shell = new Shell(args, tokens);
  let parsed: Parsed;
  try {
    parsed = table.parse(tokens, Date.now());
  } catch (error) {
    void shell.end(() => Promise.reject(error), table.find(tokens.words)?.command.name);
    return;
  }
  const ofTrees = parsed.kind === 'command' && isOfTrees(parsed.command, parsed.values);
  if (parsed.kind === 'help' || ofTrees || !isHot(parsed.command)) {
    const codeCache = codeCacheFolder(process.env);
    if (codeCache !== undefined) enableCompileCache(codeCache);
    const file = ofTrees ? 'sync.cjs' : 'oclif.cjs';
    const rest = require(join(__dirname, file)) as { readonly main: (args: readonly string[]) => void };
    rest.main(args);
    return;
  }
  const { command, values, argv } = parsed;
  void shell.end(() => shell.perform(command, values, argv), command.name);
}

function refuseNode(): void {
  const message = `codex-remote needs Node.js ${oldestNode} or later, this is ${process.versions.node} (${process.execPath})`;
  const error = {
    code: 'runtime_unsupported',
    message,
    hint: 'install a newer Node.js, or install codex-remote with its optional dependencies',
    retryable: false,
    sent: 'no',
  };
  writeNow(1, `${JSON.stringify({ ok: false, error, next_action: 'fix-config' })}\n`);
  writeNow(2, `codex-remote: ${message}\n`);
  process.exitCode = 1;
}

main(process.argv.slice(2));
