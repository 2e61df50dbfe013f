/**
 * The part of the program that works on trees: what that takes, git, zlib and the reader of manifests among it, is more than all
 * of the short commands. Called by `main.ts` or `hot-main.ts`, which has found that the line is one of these commands.
 */
import { setUpEngine } from '@codex-remote/platform';
import { table } from './commands/all.ts';
import { Shell } from './shell.ts';

export function main(args: readonly string[]): void {
  setUpEngine();
  const tokens = table.tokenize(args);
  const shell = new Shell(args, tokens);
  void shell.end(() => {
    const parsed = table.parse(tokens, Date.now());
    if (parsed.kind === 'help') throw new Error('help is shown by oclif');
    return shell.perform(parsed.command, parsed.values, parsed.argv);
  }, table.find(tokens.words)?.command.name);
}
