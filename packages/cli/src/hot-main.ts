/**
 * The program for what is called over and over: the hot commands and nothing else. Help and wrong usage are the whole
 * program's, beside this file. Must not load `node:http`, zod or oclif: they cost more than the command.
 */
import { isOfTrees, runBundle } from './bundles.ts';
import { hotCommands } from './commands/hot.ts';
import { Shell } from './shell.ts';
import { type Parsed, Table } from './table/parse.ts';
import type { Tokens } from './table/tokens.ts';

const table = new Table(hotCommands);

export function main(args: readonly string[]): void {
  const tokens = table.tokenize(args);
  const parsed = parse(tokens);
  // It knows every flag, and so tells better what is wrong.
  if (parsed?.kind !== 'command') return runBundle('cli.cjs', args);
  const { command, values, argv } = parsed;
  if (isOfTrees(command, values)) return runBundle('sync.cjs', args);
  const shell = new Shell(args, tokens);
  void shell.end(() => shell.perform(command, values, argv), command.name);
}

function parse(tokens: Tokens): Parsed | undefined {
  try {
    return table.parse(tokens, Date.now());
  } catch {
    return undefined;
  }
}
