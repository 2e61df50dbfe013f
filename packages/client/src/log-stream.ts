import { type StreamName, streamId } from '@codex-remote/protocol/wire';
import { Dating } from './dating.ts';
import type { OutputRecord } from './follow.ts';
import { LineSplitter } from './lines.ts';

export type OutputStream = Extract<StreamName, 'stdout' | 'stderr'>;

/** Where dated pieces of lines of both streams go. `at` gives the time when the piece had been written. */
export interface LogSink {
  piece(
    stream: OutputStream,
    line: string | Uint8Array,
    offset: number,
    next: number,
    partial: boolean,
    at: string,
  ): void;
  gap(stream: OutputStream, offset: number, missing: number, at: string): void;
}

/**
 * Output records of an exec as dated lines. `now` dates what no time record reaches: the reader's own clock for live
 * output.
 */
export class LogStream {
  readonly #stdout: OneStream;
  readonly #stderr: OneStream;

  constructor(sink: LogSink, now: () => string) {
    this.#stdout = new OneStream('stdout', sink, now);
    this.#stderr = new OneStream('stderr', sink, now);
  }

  push(record: OutputRecord): void {
    this.#of(record.stream).push(record);
  }

  /** Gives on what waits for its time; a reader of live output does so when nothing more comes for a moment. */
  settle(): void {
    this.#stdout.settle();
    this.#stderr.settle();
  }

  /** True when `settle` has something to give. */
  get holds(): boolean {
    return this.#stdout.holds || this.#stderr.holds;
  }

  /** Nothing more comes. `partial`: the exec goes on, so a line without its newline may go on as well. */
  end(partial: boolean): void {
    this.#stdout.end(partial);
    this.#stderr.end(partial);
  }

  #of(stream: number): OneStream {
    return stream === streamId.stderr ? this.#stderr : this.#stdout;
  }
}

class OneStream {
  readonly #dating = new Dating();
  readonly #lines: LineSplitter;

  constructor(name: OutputStream, sink: LogSink, now: () => string) {
    const dating = this.#dating;
    this.#lines = new LineSplitter({
      piece: (line, offset, next, partial) =>
        sink.piece(name, line, offset, next, partial, dating.at(next, now)),
      gap: (offset, missing) => sink.gap(name, offset, missing, dating.at(offset, now)),
    });
  }

  get holds(): boolean {
    return this.#dating.holds;
  }

  push(record: OutputRecord): void {
    for (const dated of this.#dating.push(record)) this.#lines.push(dated);
  }

  settle(): void {
    for (const dated of this.#dating.release()) this.#lines.push(dated);
  }

  end(partial: boolean): void {
    this.settle();
    this.#lines.flush(partial);
  }
}
