import { type DiffEvent, type DiffHead, diffEvent, type VerbParams } from '@codex-remote/protocol/schema';
import { RemoteError, streamId } from '@codex-remote/protocol/wire';
import type { FileStream } from '../files/record-relay.ts';
import { parsed } from '../files/streams.ts';

type DiffEnd = Extract<DiffEvent, { end: unknown }>['end'];

/** The files of a diff, or its patch; goes on at the next file or byte, and only to the same result. */
export class DiffStream implements FileStream<DiffEnd> {
  readonly verb = 'exec.diff';
  readonly needs = 'git';
  readonly #order: VerbParams<'exec.diff'>;
  #next: number;
  #head: DiffHead | undefined;
  /** The head of this connection has come. */
  #begun = false;

  constructor(order: VerbParams<'exec.diff'>) {
    this.#order = order;
    this.#next = order.from;
  }

  params(): VerbParams<'exec.diff'> {
    this.#begun = false;
    const result = this.#head?.result ?? this.#order.result;
    return { ...this.#order, from: this.#next, ...(result !== undefined && { result }) };
  }

  data(stream: number, offset: number, bytes: number): void {
    if (stream !== streamId.content || !this.#begun || offset !== this.#next || this.#order.part !== 'patch')
      throw new RemoteError('protocol_error', `a patch goes on at ${offset} in place of ${this.#next}`, {
        facts: { field: 'offset', value: offset },
      });
    this.#next += bytes;
  }

  event(value: unknown): { pass?: object; end?: DiffEnd } {
    const event = parsed(diffEvent, value, this.verb);
    if ('diff' in event) return this.#begin(event);
    if (!this.#begun) throw new RemoteError('protocol_error', 'exec.diff does not say first of what');
    if ('files' in event) {
      if (this.#order.part !== 'files')
        throw new RemoteError('protocol_error', 'exec.diff gives files in place of a patch');
      this.#next += event.files.length;
      return { pass: event };
    }
    if (event.end.next !== this.#next)
      throw new RemoteError('protocol_error', 'exec.diff ends where it has not come to');
    return { end: event.end };
  }

  #begin(event: { readonly diff: DiffHead }): { pass?: object } {
    if (this.#begun) throw new RemoteError('protocol_error', 'exec.diff says twice of what');
    const due = this.#head?.result ?? this.#order.result;
    if (due !== undefined && event.diff.result !== due)
      throw new RemoteError('protocol_error', 'exec.diff is to another result than was asked for');
    this.#begun = true;
    // The reader knows it from the first connection.
    if (this.#head) return {};
    this.#head = event.diff;
    return { pass: event };
  }
}
