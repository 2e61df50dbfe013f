import { dirname } from 'node:path';
import { namesRemote, oneLine } from '@codex-remote/client';
import type { Context } from './context.ts';
import { processContext } from './context.ts';
import { failureOf, stderrLine } from './errors.ts';
import { exitCodes, exitOfFailure } from './exit.ts';
import type { Outcome } from './outcome.ts';
import { atTerminal, Output, type OutputMode, outputMode, ReaderGone } from './output.ts';
import { fromElsewhere, nextFromElsewhere, notHere } from './own-host.ts';
import type { BoundValues } from './table/bind.ts';
import type { Command } from './table/command.ts';
import type { Tokens } from './table/tokens.ts';

/** One run of the program: its output, its arguments, and how it ends. */
export class Shell {
  readonly output: Output;
  readonly args: readonly string[];
  readonly #tokens: Tokens;
  /** A word in the environment that is no output mode; told as soon as there is something to tell it with. */
  readonly #modeError: unknown;

  constructor(args: readonly string[], tokens: Tokens) {
    this.args = args;
    this.#tokens = tokens;
    const terminal = atTerminal(process.env);
    let mode: OutputMode = terminal ? 'human' : 'json';
    try {
      mode = outputMode(wantedMode(tokens), process.env, terminal);
    } catch (error) {
      this.#modeError = error;
    }
    this.output = new Output(mode, terminal, process);
  }

  /** Does `work` and ends the process with its status, when everything that was written has been taken. */
  async end(work: () => Promise<number>, command?: string): Promise<never> {
    const status = await this.#status(work, command);
    const last = await this.output.flush().then(() => status, statusOf);
    process.exit(last);
  }

  async #status(work: () => Promise<number>, command: string | undefined): Promise<number> {
    try {
      if (this.#modeError !== undefined) throw this.#modeError;
      return await work();
    } catch (error) {
      if (error instanceof ReaderGone) return exitCodes.readerGone;
      return this.#fail(error, command).catch(statusOf);
    }
  }

  /** Runs a command and shows what it answers. */
  async perform(command: Command, values: BoundValues, argv: readonly string[] | undefined): Promise<number> {
    const context = processContext(this.output, this.args, dirname(process.argv[1] ?? ''), command);
    if (context.remote && command.ownHost) throw notHere(command.name, context.remote.url);
    const outcome = await command.run(values as Parameters<Command['run']>[0], context, argv);
    await this.#show(context.remote ? fromElsewhere(outcome) : outcome);
    await replaceOlder(context);
    return outcome.exit;
  }

  async #show({ value, human }: Outcome): Promise<void> {
    const { mode, terminal } = this.output;
    if (mode === 'raw') return;
    if (mode !== 'human') return value === undefined ? undefined : this.output.line(value);
    const text = human();
    const streams = value !== undefined && 'type' in value && lastRecords.has(value.type);
    // The end of a stream is a remark of ours, not the remote's output.
    if (text !== '' && streams && terminal) this.output.note(text);
    else if (text !== '' && !streams) await this.output.text(`${text}\n`);
  }

  async #fail(thrown: unknown, command: string | undefined): Promise<number> {
    const stream =
      command === 'exec run' ||
      command === 'exec watch' ||
      command === 'exec logs' ||
      command === 'controller logs';
    const debug = this.#tokens.flags.some(({ name }) => name === 'debug');
    const failed = failureOf(thrown, { args: this.args, stream, debug, command });
    const failure = namesRemote(process.env) ? nextFromElsewhere(failed) : failed;
    this.output.note(stderrLine(failure));
    if (this.output.mode === 'human') {
      if (failure.next_command !== undefined && this.output.terminal)
        this.output.note(oneLine(`next: ${failure.next_command}`));
      if (debug) this.output.note(String(failure.error.stack));
    } else if (this.output.mode !== 'raw') await this.output.line(failure);
    return exitOfFailure(String(failure.error.code), command);
  }
}

/** What a stream ends with; a file's `type` is another thing. */
const lastRecords: ReadonlySet<unknown> = new Set(['end', 'finished', 'detached']);

function statusOf(error: unknown): number {
  return error instanceof ReaderGone ? exitCodes.readerGone : exitCodes.failed;
}

/** The answer is out; an older controller is replaced for the next one. That it fails is not this command's failure. */
async function replaceOlder({ client }: Context): Promise<void> {
  await client.connection.replaceOlder().catch(() => {});
}

function wantedMode({ flags }: Tokens): OutputMode | undefined {
  const names = flags.map(({ name }) => name);
  return (['raw', 'brief', 'human', 'json'] as const).find((mode) => names.includes(mode));
}
