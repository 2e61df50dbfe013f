import { nearestNames, RemoteError } from '@codex-remote/protocol/wire';
import { type BoundValues, bind, short } from './bind.ts';
import type { Command } from './command.ts';
import type { Flag } from './flag.ts';
import { everyFlag } from './shared.ts';
import { type FlagNames, type Tokens, tokenize } from './tokens.ts';

/** What a command line asks for. */
export type Parsed =
  | { kind: 'help'; words: readonly string[] }
  | { kind: 'command'; command: Command; values: BoundValues; argv: readonly string[] | undefined };

/** All commands, found by what is typed. */
export class Table {
  readonly commands: readonly Command[];
  readonly names: FlagNames;

  constructor(commands: readonly Command[]) {
    this.commands = commands;
    this.names = namesOf(commands);
  }

  tokenize(args: readonly string[]): Tokens {
    return asVersion(tokenize(args, this.names));
  }

  /** Throws `usage` with the nearest known words. */
  parse(tokens: Tokens, now: number): Parsed {
    const { words } = tokens;
    if (words[0] === 'help') return this.#help(words.slice(1));
    if (tokens.flags.some(({ name }) => name === 'help')) return this.#help(words);
    if (words.length === 0 && tokens.flags.length === 0 && tokens.argv === undefined)
      return this.#help(words);
    const found = this.find(words);
    if (found === undefined) return this.#help(words, 1);
    return {
      kind: 'command',
      command: found.command,
      values: bind(found.command, tokens, found.rest, now),
      argv: tokens.argv,
    };
  }

  /** The command that the words begin with, and the words after it. */
  find(words: readonly string[]): { command: Command; rest: readonly string[] } | undefined {
    for (const length of [2, 1]) {
      const name = words.slice(0, length).join(' ');
      const command = this.commands.find((known) => known.name === name);
      if (command !== undefined && words.length >= length) return { command, rest: words.slice(length) };
    }
    return undefined;
  }

  verbsOf(noun: string): string[] {
    return this.commands
      .filter(({ name }) => name.startsWith(`${noun} `))
      .map(({ name }) => name.slice(noun.length + 1));
  }

  /** Of everything, a noun or a command; `least`: so many words say of which. Throws `usage`. */
  #help(words: readonly string[], least = 0): Parsed {
    const isNoun = words.length === 1 && this.verbsOf(words[0] ?? '').length > 0;
    const isAll = words.length === 0 && least === 0;
    if (!isAll && !isNoun && this.find(words) === undefined) throw this.#unknown(words);
    return { kind: 'help', words };
  }

  #unknown([noun = '', verb = '']: readonly string[]): RemoteError {
    const verbs = this.verbsOf(noun);
    const known =
      verbs.length > 0 ? verbs : [...new Set(this.commands.map(({ name }) => name.split(' ', 1)[0] ?? name))];
    const word = verbs.length > 0 ? verb : noun;
    const prefix = verbs.length > 0 ? `${noun} ` : '';
    const near = nearestNames(word, known).map((name) => prefix + name);
    const what =
      noun === '' ? 'no command is given' : `${JSON.stringify(short(prefix + word))} is not a command`;
    const guess =
      near.length > 0
        ? `did you mean ${near.join(' or ')}?`
        : `there are ${known.map((name) => prefix + name).join(', ')}`;
    return new RemoteError('usage', `${what}; ${guess}`, {
      hint: `codex-remote ${verbs.length > 0 ? `${noun} ` : ''}--help`,
      sent: 'no',
    });
  }
}

/** `codex-remote --version` is `codex-remote version`. */
function asVersion(tokens: Tokens): Tokens {
  const [first, ...flags] = tokens.flags;
  return tokens.words.length === 0 && first?.typed === '--version'
    ? { words: ['version'], flags, argv: tokens.argv }
    : tokens;
}

function namesOf(commands: readonly Command[]): FlagNames {
  const long = new Map<string, { name: string; flag: Flag }>();
  const short = new Map<string, { name: string; flag: Flag }>();
  for (const flags of [everyFlag, ...commands.map((command) => command.flags)]) {
    for (const [name, flag] of Object.entries<Flag>(flags)) {
      for (const written of [name, ...(flag.aliases ?? [])]) long.set(written, { name, flag });
      if (flag.char !== undefined) short.set(flag.char, { name, flag });
    }
  }
  return { long, short };
}
