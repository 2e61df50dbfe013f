import {
  forTerminal,
  JsonLines,
  type LogSink,
  LogStream,
  type OutputRecord,
  type OutputStream,
  safeJson,
} from '@codex-remote/client';
import { streamId } from '@codex-remote/protocol/wire';
import type { Output } from '../../output.ts';

/** Text is written when it has this much; below it, as soon as nothing more is at hand. */
const writeChars = 64 * 1024;
/** Live output waits so long for the record that dates it, and a line at a terminal for its end. */
const settleMs = 25;

/** Output of an exec on its way to our stdout, in one of the four modes. `end` is called on every path. */
export interface LiveOutput {
  /** Resolves when there is room for more. Throws `ReaderGone`. */
  push(record: OutputRecord): Promise<void> | undefined;
  /** Nothing more comes. `partial`: the exec goes on. */
  end(partial: boolean): Promise<void>;
}

export interface LiveOutputOptions {
  /** Given to every record where several execs share the stream. */
  readonly execId?: string;
  readonly now: () => number;
  /** Lines to show; absent = all. */
  readonly only?: (line: string | Uint8Array) => boolean;
}

export function liveOutput(output: Output, options: LiveOutputOptions): LiveOutput {
  if (output.mode === 'brief') return { push: () => undefined, end: async () => {} };
  if (output.mode === 'raw' && options.only === undefined) return new RawOutput(output);
  return new LineOutput(output, options, renderingFor(output, options));
}

/** Lines as the mode shows them. */
export function renderingFor(output: Output, { execId }: LiveOutputOptions): Rendering {
  if (output.mode === 'raw') return new RawLines(output);
  return output.mode === 'human' ? new HumanLines() : new JsonText(execId);
}

/** Bytes as they are, each stream to its own descriptor; what is gone is said on stderr, the one thing that is added. */
class RawOutput implements LiveOutput {
  readonly #output: Output;

  constructor(output: Output) {
    this.#output = output;
  }

  push(record: OutputRecord): Promise<void> | undefined {
    if (record.kind === 'gap')
      this.#output.note(goneNote(nameOf(record.stream), record.offset, record.missing));
    if (record.kind !== 'data') return undefined;
    // The stream may hold on to the bytes: pieces of a body are never used again.
    return this.#output.write(record.bytes, nameOf(record.stream));
  }

  async end(): Promise<void> {}
}

function nameOf(stream: number): OutputStream {
  return stream === streamId.stderr ? 'stderr' : 'stdout';
}

function goneNote(stream: OutputStream, offset: number, missing: number): string {
  return `codex-remote: ${missing} bytes of ${stream} from offset ${offset} on are gone`;
}

export interface Rendering extends LogSink {
  /** What has gathered for each descriptor since the last call. */
  take(): { stdout: string | Uint8Array; stderr: string | Uint8Array };
  readonly length: number;
  /** A line that has not ended is shown as far as it has come. */
  readonly showsPartial: boolean;
}

/** Lines in some rendering, written when they fill a write or when nothing more is at hand. */
class LineOutput implements LiveOutput {
  readonly #output: Output;
  readonly #rendering: Rendering;
  readonly #lines: LogStream;
  #soon: NodeJS.Immediate | undefined;
  #settle: NodeJS.Timeout | undefined;
  /** The first failure of a write that nobody awaited. */
  #failed: Promise<never> | undefined;

  constructor(output: Output, { now, only }: LiveOutputOptions, rendering: Rendering) {
    this.#output = output;
    this.#rendering = rendering;
    this.#lines = new LogStream(only === undefined ? rendering : filtered(rendering, only), () =>
      new Date(now()).toISOString(),
    );
  }

  push(record: OutputRecord): Promise<void> | undefined {
    if (this.#failed !== undefined) return this.#failed;
    this.#lines.push(record);
    if (this.#lines.holds || this.#rendering.showsPartial)
      this.#settle ??= setTimeout(() => this.#settled(), settleMs);
    if (this.#rendering.length >= writeChars) return this.#write();
    if (this.#rendering.length > 0) this.#soon ??= setImmediate(() => this.#background());
    return undefined;
  }

  async end(partial: boolean): Promise<void> {
    clearImmediate(this.#soon);
    clearTimeout(this.#settle);
    this.#lines.end(partial);
    await this.#failed;
    await this.#write();
  }

  #settled(): void {
    this.#settle = undefined;
    if (this.#rendering.showsPartial) this.#lines.end(true);
    else this.#lines.settle();
    this.#background();
  }

  #background(): void {
    this.#soon = undefined;
    this.#write().catch((error: unknown) => {
      this.#failed = Promise.reject(error);
      this.#failed.catch(() => {});
    });
  }

  async #write(): Promise<void> {
    const { stdout, stderr } = this.#rendering.take();
    await this.#output.write(stdout);
    await this.#output.write(stderr, 'stderr');
  }
}

class JsonText implements Rendering {
  readonly showsPartial = false;
  readonly #lines: JsonLines;

  constructor(execId: string | undefined) {
    this.#lines = new JsonLines(execId === undefined ? '' : `"exec_id":${safeJson(execId)},`);
  }

  get length(): number {
    return this.#lines.length;
  }

  take() {
    return { stdout: this.#lines.take(), stderr: '' };
  }

  piece(...place: Parameters<LogSink['piece']>): void {
    this.#lines.piece(...place);
  }

  gap(...place: Parameters<LogSink['gap']>): void {
    this.#lines.gap(...place);
  }
}

/** For a person: text that cannot act on the terminal, each stream to its own descriptor. */
class HumanLines implements Rendering {
  readonly showsPartial = true;
  #text = { stdout: '', stderr: '' };

  get length(): number {
    return this.#text.stdout.length + this.#text.stderr.length;
  }

  take() {
    const text = this.#text;
    this.#text = { stdout: '', stderr: '' };
    return text;
  }

  piece(
    stream: OutputStream,
    line: string | Uint8Array,
    offset: number,
    next: number,
    partial: boolean,
  ): void {
    const text = typeof line === 'string' ? line : Buffer.from(line).toString('utf8');
    const ended =
      !partial && next - offset > (typeof line === 'string' ? Buffer.byteLength(line) : line.byteLength);
    this.#text[stream] += forTerminal(text) + (ended ? '\n' : '');
  }

  gap(stream: OutputStream, _offset: number, missing: number): void {
    this.#text[stream] += `[${missing} bytes are gone]\n`;
  }
}

/** The bytes of the lines that a filter left. */
class RawLines implements Rendering {
  readonly showsPartial = false;
  readonly #output: Output;
  #pieces: { stdout: Uint8Array[]; stderr: Uint8Array[] } = { stdout: [], stderr: [] };
  length = 0;

  constructor(output: Output) {
    this.#output = output;
  }

  take() {
    const { stdout, stderr } = this.#pieces;
    this.#pieces = { stdout: [], stderr: [] };
    this.length = 0;
    return { stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr) };
  }

  piece(stream: OutputStream, line: string | Uint8Array, offset: number, next: number): void {
    const bytes = Buffer.from(line);
    this.#pieces[stream].push(
      next - offset > bytes.byteLength ? Buffer.concat([bytes, Buffer.from('\n')]) : bytes,
    );
    this.length += bytes.byteLength + 1;
  }

  gap(stream: OutputStream, offset: number, missing: number): void {
    this.#output.note(goneNote(stream, offset, missing));
  }
}

function filtered(sink: LogSink, only: (line: string | Uint8Array) => boolean): LogSink {
  return {
    piece(stream, line, offset, next, partial, at) {
      if (only(line)) sink.piece(stream, line, offset, next, partial, at);
    },
    gap: (stream, offset, missing, at) => sink.gap(stream, offset, missing, at),
  };
}
