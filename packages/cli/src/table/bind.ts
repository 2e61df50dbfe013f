import { nearestNames, RemoteError } from '@codex-remote/protocol/wire';
import type { CommandSpec } from './command.ts';
import type { Flag, SwitchFlag } from './flag.ts';
import { everyFlag } from './shared.ts';
import type { Tokens } from './tokens.ts';
import type { ValueContext } from './values.ts';

export type BoundValues = Readonly<Record<string, unknown>>;

/** The flags of a command and those of every command. */
export function flagsOf(spec: CommandSpec): Readonly<Record<string, Flag>> {
  return { ...spec.flags, ...everyFlag };
}

/** What the tokens mean for `spec`; `rest` are the words after the verb. Throws `usage`. */
export function bind(spec: CommandSpec, tokens: Tokens, rest: readonly string[], now: number): BoundValues {
  const known = flagsOf(spec);
  const values: Record<string, unknown> = {};
  const typedAs = new Map<string, string>();
  for (const { name, typed, value } of tokens.flags) {
    const flag = Object.hasOwn(known, name) ? known[name] : undefined;
    if (flag === undefined) throw unknownFlag(spec, typed);
    if (flag.kind === 'switch') {
      if (value !== undefined) throw usage(spec, `${typed} takes no value`);
      values[name] = true;
      continue;
    }
    if (value === undefined) throw usage(spec, `${typed} needs a value: ${typed} ${flag.value}`);
    const read = readValue(spec, flag, value, { flag: typed, now });
    if (flag.kind === 'many') values[name] = [...((values[name] as unknown[] | undefined) ?? []), read];
    else if (Object.hasOwn(values, name)) throw usage(spec, `${typedAs.get(name) ?? typed} is given twice`);
    else values[name] = read;
    typedAs.set(name, typed);
  }
  bindWords(spec, values, rest, now);
  checkWhole(spec, values, tokens.argv);
  return values;
}

/** What no flag can tell alone. Throws `usage`. */
export function checkWhole(
  spec: CommandSpec,
  values: BoundValues,
  argv: readonly string[] | undefined,
): void {
  if (argv !== undefined && !spec.takesArgv) throw usage(spec, `${spec.name} takes nothing after --`);
  const [first, second] = (['json', 'human', 'raw', 'brief'] as const).filter(
    (mode) => values[mode] === true,
  );
  if (second !== undefined) throw usage(spec, `--${first} and --${second} exclude each other`);
}

/** Adds the words after the verb to `values`. Throws `usage`. */
export function bindWords(
  spec: CommandSpec,
  values: Record<string, unknown>,
  words: readonly string[],
  now: number,
): void {
  for (const word of words) {
    const name = spec.positional;
    const flag = name === undefined ? undefined : spec.flags[name];
    if (name === undefined || flag === undefined || flag.kind === 'switch') throw strayWord(spec, word);
    const value = readValue(spec, flag, word, { flag: flag.value, now });
    const before = values[name];
    if (flag.kind === 'many') values[name] = [...((before as unknown[] | undefined) ?? []), value];
    else if (before !== undefined)
      throw usage(
        spec,
        before === value ? `${word} is given twice` : `${short(word)} is one ${flag.value} too many`,
      );
    else values[name] = value;
  }
}

/** The flag's value; wrong usage points to the command's help. */
function readValue(
  spec: CommandSpec,
  flag: Exclude<Flag, SwitchFlag>,
  text: string,
  context: ValueContext,
): unknown {
  try {
    return flag.read(text, context);
  } catch (error) {
    throw RemoteError.from(error).with(usage(spec, '').details);
  }
}

function strayWord(spec: CommandSpec, word: string): RemoteError {
  const way = spec.takesArgv ? '; a command line is given with --cmd, an argument vector after --' : '';
  return usage(spec, `${JSON.stringify(short(word))} is not expected after ${spec.name}${way}`);
}

function unknownFlag(spec: CommandSpec, typed: string): RemoteError {
  const known = flagsOf(spec);
  const names = Object.entries(known).flatMap(([name, flag]) => [name, ...(flag.aliases ?? [])]);
  const near = nearestNames(typed.replace(/^-+/, ''), names).map((name) => `--${name}`);
  return usage(
    spec,
    `${spec.name} has no flag ${short(typed)}${near.length > 0 ? `; did you mean ${near.join(' or ')}?` : ''}`,
  );
}

/** Wrong usage of a known command: the hint is its help. */
export function usage(spec: Pick<CommandSpec, 'name'>, message: string): RemoteError {
  return new RemoteError('usage', message, { hint: `codex-remote ${spec.name} --help`, sent: 'no' });
}

export function short(text: string): string {
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}
