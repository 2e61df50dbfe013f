import type { Context } from '../context.ts';
import type { Outcome } from '../outcome.ts';
import type { Flags, ValuesOf } from './flag.ts';
import type { everyFlag } from './shared.ts';

/** A command: its flags for both parsers, its help, and what it does. */
export interface CommandSpec<F extends Flags = Flags> {
  /** Noun and verb, `exec run`; or one word. */
  readonly name: string;
  /** One line. */
  readonly summary: string;
  /** More lines, where the summary is not all. */
  readonly description?: string;
  readonly flags: F;
  /** The flag that words after the verb are values of. */
  readonly positional?: keyof F & string;
  /** It takes an argument vector after `--`. */
  readonly takesArgv?: boolean;
  /** It works with this user's own controller alone, on the host of that. */
  readonly ownHost?: true;
  /** It asks no controller: a token that cannot be used is no reason to fail. */
  readonly asksNobody?: true;
  /** What each is for, and the line after `codex-remote`. */
  readonly examples: readonly (readonly [string, string])[];
}

export interface Command<F extends Flags = Flags> extends CommandSpec<F> {
  run(
    values: ValuesOf<F & typeof everyFlag>,
    context: Context,
    argv: readonly string[] | undefined,
  ): Promise<Outcome>;
}

/** A command with the types of its flags kept, then forgotten for the table. */
export function command<const F extends Flags>(spec: Command<F>): Command {
  return spec as unknown as Command;
}
