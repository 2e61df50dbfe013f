import {
  type FileInfo,
  type ListEvent,
  listEvent,
  type ReadEvent,
  readEvent,
} from '@codex-remote/protocol/schema';
import { RemoteError, streamId } from '@codex-remote/protocol/wire';
import type { FileStream } from './record-relay.ts';

type ListEnd = Extract<ListEvent, { end: unknown }>['end'];
type ReadEnd = Extract<ReadEvent, { end: unknown }>['end'];

export interface ListOrder {
  readonly path: Uint8Array;
  readonly limit: number;
  readonly cursor?: string | undefined;
}

export interface ReadOrder {
  readonly path: Uint8Array;
  readonly from: number;
  readonly maxBytes?: number | undefined;
  readonly version?: string | undefined;
  /** Of what is kept of this exec, in place of a file. */
  readonly execId?: string;
}

/** Pages of a folder; goes on behind the last entry that was passed on. */
export class ListStream implements FileStream<ListEnd> {
  readonly verb = 'file.list';
  readonly needs = 'files';
  readonly #order: ListOrder;
  #left: number;
  #cursor: string | undefined;

  constructor(order: ListOrder) {
    this.#order = order;
    this.#left = order.limit;
    this.#cursor = order.cursor;
  }

  params() {
    return {
      path: this.#order.path,
      limit: Math.max(1, this.#left),
      ...(this.#cursor !== undefined && { cursor: this.#cursor }),
    };
  }

  data(): void {
    throw new RemoteError('protocol_error', 'file.list has no data records');
  }

  event(value: unknown): { pass?: object; end?: ListEnd } {
    const event = parsed(listEvent, value, this.verb);
    if ('end' in event) return { end: event.end };
    this.#left -= event.entries.length;
    if (this.#left < 0) throw new RemoteError('protocol_error', 'file.list gives more than was asked for');
    const last = event.entries.at(-1);
    if (last)
      this.#cursor = (
        last.name === undefined ? Buffer.from(last.name_b64 ?? '', 'base64') : Buffer.from(last.name)
      ).toString('base64url');
    return { pass: event };
  }
}

/** The bytes of a file; goes on at the next one, and only in the same content. */
export class ContentStream implements FileStream<ReadEnd> {
  readonly verb: 'file.read' | 'artifact.read';
  readonly needs: 'files' | 'artifacts';
  readonly #order: ReadOrder;
  #next: number;
  #file: FileInfo | undefined;
  /** The event of this connection has come. */
  #begun = false;

  constructor(order: ReadOrder) {
    [this.verb, this.needs] =
      order.execId === undefined ? ['file.read', 'files'] : ['artifact.read', 'artifacts'];
    this.#order = order;
    this.#next = order.from;
  }

  params() {
    const { execId, path, from, maxBytes } = this.#order;
    this.#begun = false;
    const version = this.#file?.version ?? this.#order.version;
    return {
      ...(execId !== undefined && { exec_id: execId }),
      path,
      from: this.#next,
      ...(maxBytes !== undefined && { max_bytes: maxBytes - (this.#next - from) }),
      ...(version !== undefined && { version }),
    };
  }

  data(stream: number, offset: number, bytes: number): void {
    if (stream !== streamId.content || !this.#begun || offset !== this.#next)
      throw new RemoteError('protocol_error', `a file goes on at ${offset} in place of ${this.#next}`, {
        facts: { field: 'offset', value: offset },
      });
    this.#next += bytes;
    const { from, maxBytes } = this.#order;
    if (this.#next > Number.MAX_SAFE_INTEGER || (maxBytes !== undefined && this.#next - from > maxBytes))
      throw new RemoteError('protocol_error', `${this.verb} gives more than was asked for`);
  }

  event(value: unknown): { pass?: object; end?: ReadEnd } {
    const event = parsed(readEvent, value, this.verb);
    if ('end' in event) {
      if (!this.#begun || event.end.next !== this.#next)
        throw new RemoteError('protocol_error', `${this.verb} ends where it has not come to`);
      return { end: event.end };
    }
    if (this.#begun) throw new RemoteError('protocol_error', `${this.verb} says twice what it is`);
    this.#begun = true;
    // The reader knows it from the first connection.
    if (this.#file) return {};
    this.#file = event.file;
    return { pass: event };
  }
}

/** A record as `schema` has it. Throws `protocol_error`. */
export function parsed<T>(
  schema: { safeParse(value: unknown): { success: boolean; data?: T } },
  value: unknown,
  verb: string,
): T {
  const { success, data } = schema.safeParse(value);
  if (success && data !== undefined) return data;
  throw new RemoteError('protocol_error', `a record of ${verb} has not the expected shape`);
}
