import type { Command } from '../table/command.ts';
import type { Tokens } from '../table/tokens.ts';

/** Before every value and word: none can then look like a flag, which oclif would take it for. */
const guard = '\0';

/** The tokens of a command line as an argument vector for oclif. What follows `--` is not in it: oclif would re-order it. */
export function oclifArgv(tokens: Tokens, command: Command): string[] {
  const words = tokens.words.slice(command.name.split(' ').length);
  const flags = tokens.flags.map(({ name, value, typed }) => {
    const known = name === typed ? typed : `--${name}`;
    return value === undefined ? known : `${known}=${guard}${value}`;
  });
  return [...flags, ...words.map((word) => guard + word)];
}

export function unguarded(input: string): string {
  return input.startsWith(guard) ? input.slice(guard.length) : input;
}
