/**
 * The whole program. Short commands are run from here, without oclif; help, and what is called rarely, by `oclif.cjs` beside
 * this file, and what works on trees by `sync.cjs`. Must not load `node:http`, zod or oclif: they cost more than the command.
 */
import { isOfTrees, runBundle } from './bundles.ts';
import { isQuick, table } from './commands/all.ts';
import { Shell } from './shell.ts';
import type { Parsed } from './table/parse.ts';

export function main(args: readonly string[]): void {
  const tokens = table.tokenize(args);
  const shell = new Shell(args, tokens);
  let parsed: Parsed;
  try {
    parsed = table.parse(tokens, Date.now());
  } catch (error) {
    void shell.end(() => Promise.reject(error), table.find(tokens.words)?.command.name);
    return;
  }
  if (parsed.kind === 'help') return runBundle('oclif.cjs', args);
  const { command, values, argv } = parsed;
  if (isOfTrees(command, values)) return runBundle('sync.cjs', args);
  if (!isQuick(command)) return runBundle('oclif.cjs', args);
  void shell.end(() => shell.perform(command, values, argv), command.name);
}
