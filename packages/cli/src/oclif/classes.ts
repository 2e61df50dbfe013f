import { Args, Flags, type Interfaces, Command as OclifCommand } from '@oclif/core';
import type { Shell } from '../shell.ts';
import { type BoundValues, bindWords, checkWhole, flagsOf } from '../table/bind.ts';
import type { Command } from '../table/command.ts';
import type { Flag } from '../table/flag.ts';
import { unguarded } from './argv.ts';

export type CommandClasses = Readonly<Record<string, typeof OclifCommand>>;

/** What goes to a command beside oclif's parser: the vector after `--`, which it would re-order, and our output. */
export interface Beside {
  readonly shell: Shell;
  readonly argv: readonly string[] | undefined;
}

let beside: Beside | undefined;

/** A process has one command line; oclif copies its config, so that is no place to put it. */
export function setBeside(given: Beside): void {
  beside = given;
}

/** One oclif class a command, by its id `noun:verb`. */
export function classesOf(commands: readonly Command[], now: () => number = Date.now): CommandClasses {
  return Object.fromEntries(
    commands.map((command) => [command.name.replace(' ', ':'), classOf(command, now)]),
  );
}

function classOf(command: Command, now: () => number): typeof OclifCommand {
  class TableCommand extends OclifCommand {
    static override summary = command.summary;
    static override flags = oclifFlags(command, now);
    static override args = oclifArgs(command);

    async run(): Promise<number> {
      if (beside === undefined) throw new Error(`${command.name} was run without its output`);
      const values = valuesOf(command, await this.parse(TableCommand), beside.argv, now());
      return beside.shell.perform(command, values, beside.argv);
    }

    /** `Shell` says what failed; oclif would print it as text. */
    protected override async catch(error: Error): Promise<never> {
      throw error;
    }
  }
  return TableCommand as unknown as typeof OclifCommand;
}

function oclifFlags(command: Command, now: () => number): Interfaces.FlagInput {
  return Object.fromEntries(
    Object.entries(flagsOf(command)).map(([name, flag]) => [name, oclifFlag(name, flag, now)]),
  );
}

function oclifFlag(name: string, flag: Flag, now: () => number): Interfaces.Flag<unknown> {
  const common = {
    summary: flag.summary,
    aliases: [...(flag.aliases ?? [])],
    ...(flag.char === undefined ? {} : { char: flag.char as Interfaces.AlphabetLowercase }),
  };
  if (flag.kind === 'switch') return Flags.boolean(common);
  const parse = async (input: string) => flag.read(unguarded(input), { flag: `--${name}`, now: now() });
  const once = Flags.custom<unknown>({ ...common, helpValue: flag.value, parse })();
  return flag.kind === 'many' ? { ...once, multiple: true, multipleNonGreedy: true } : once;
}

/** An argument that is missing is not read from our stdin, as oclif would do (`ignoreStdin`). */
function oclifArgs({ positional, flags }: Command): Interfaces.ArgInput {
  const flag = positional === undefined ? undefined : flags[positional];
  if (positional === undefined || flag === undefined || flag.kind === 'switch') return {};
  return {
    [positional]: Args.string({ ignoreStdin: true, multiple: flag.kind === 'many' }),
  } as Interfaces.ArgInput;
}

/** What oclif parsed, as the quick parser gives it. */
export function valuesOf(
  command: Command,
  { flags, args }: { flags: Record<string, unknown>; args: Record<string, unknown> },
  argv: readonly string[] | undefined,
  now: number,
): BoundValues {
  const values = Object.fromEntries(
    Object.entries(flags).filter(([, value]) => value !== undefined && value !== false),
  );
  const words = Object.values(args)
    .flat()
    .filter((word) => typeof word === 'string');
  bindWords(command, values, words.map(unguarded), now);
  checkWhole(command, values, argv);
  return values;
}
