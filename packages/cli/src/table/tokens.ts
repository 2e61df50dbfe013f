import type { Flag } from './flag.ts';

/** A flag as it was typed; `value` is undefined for a switch or where it is missing. */
export interface FlagToken {
  readonly name: string;
  /** With its dashes, as typed. */
  readonly typed: string;
  readonly value: string | undefined;
  readonly flag: Flag | undefined;
}

export interface Tokens {
  /** Noun, verb and what else is no flag. */
  readonly words: readonly string[];
  readonly flags: readonly FlagToken[];
  /** What follows the first `--`, exactly; undefined when there is none. */
  readonly argv: readonly string[] | undefined;
}

/** Names of flags to what they are, over all commands: a name has one arity everywhere. */
export interface FlagNames {
  readonly long: ReadonlyMap<string, { name: string; flag: Flag }>;
  readonly short: ReadonlyMap<string, { name: string; flag: Flag }>;
}

/**
 * Splits an argument vector at `--`, then tells flags from words. A flag that takes a value takes the next argument
 * whatever it looks like, as getopt(3) does. Unknown flags are kept for whoever knows the command to complain about.
 */
export function tokenize(args: readonly string[], names: FlagNames): Tokens {
  const split = args.indexOf('--');
  const ours = split === -1 ? args : args.slice(0, split);
  const words: string[] = [];
  const flags: FlagToken[] = [];
  for (let at = 0; at < ours.length; at++) {
    const typed = ours[at] ?? '';
    if (typed[0] !== '-' || typed === '-') {
      words.push(typed);
      continue;
    }
    const { head, inline } = typed.startsWith('--') ? splitLong(typed) : splitShort(typed);
    const known = typed.startsWith('--') ? names.long.get(head.slice(2)) : names.short.get(head.slice(1));
    const takesNext = known !== undefined && known.flag.kind !== 'switch' && inline === undefined;
    const value = takesNext ? ours[++at] : inline;
    flags.push({ name: known?.name ?? head, typed: head, value, flag: known?.flag });
  }
  return { words, flags, argv: split === -1 ? undefined : args.slice(split + 1) };
}

function splitLong(typed: string): { head: string; inline: string | undefined } {
  const equals = typed.indexOf('=');
  return equals === -1
    ? { head: typed, inline: undefined }
    : { head: typed.slice(0, equals), inline: typed.slice(equals + 1) };
}

/** `-mNAME`, `-m=NAME` or `-m NAME`. */
function splitShort(typed: string): { head: string; inline: string | undefined } {
  if (typed.length === 2) return { head: typed, inline: undefined };
  return { head: typed.slice(0, 2), inline: typed.slice(typed[2] === '=' ? 3 : 2) };
}
