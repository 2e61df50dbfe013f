import { type ExecState, execState, type LogSelection } from '@codex-remote/protocol/schema';
import { RecordParser, RemoteError, recordHeaderBytes, streamId } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import { type ReadOptions, readResumed } from '../links/read-resumed.ts';

const endEvent = z.object({ ended: execState.nullable() });

export interface RelayOptions extends ReadOptions {
  readonly execId: string;
  readonly select: LogSelection;
  /** Takes whole records, in order; resolves when there is room for more. */
  readonly write: (records: Uint8Array) => Promise<void>;
}

export interface Relayed {
  /** The state with which the exec ended; null where it has not. */
  readonly ended: ExecState | null;
  /** No limit cut it: the reader was given everything that was selected and there. */
  readonly complete: boolean;
}

/** Carries an exec's log records from its machine to a reader, over broken connections. Throws as `readResumed` does. */
export async function relayLogs(options: RelayOptions): Promise<Relayed> {
  const { execId, select, write } = options;
  const position = new LogPosition(select);
  return readResumed(
    {
      name: `the log stream of ${execId}`,
      open: (session) => {
        position.restart();
        return session.open('exec.logs', { exec_id: execId, select: position.selection() });
      },
      parse: (bytes) => {
        const piece = position.advance(bytes);
        if (piece.end?.state && !piece.end.state.exec_id.startsWith(execId))
          throw new RemoteError('protocol_error', `the log of ${execId} ends with another exec`);
        return piece;
      },
      pass: async ({ records, end }) => {
        if (records.byteLength > 0) await write(records);
        return end && { end: { ended: end.state, complete: !position.cutByLimit } };
      },
    },
    options,
  );
}

/** Where each stream was left, from the records that passed. */
class LogPosition {
  readonly #select: LogSelection;
  readonly #next = new Map<number, number>();
  #bytes = 0;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(select: LogSelection) {
    this.#select = select;
  }

  /**
   * The original selection until every stream has shown where it begins (an agent sends that first, as a data record of no
   * bytes, before any bytes of any stream); from there on by offset.
   */
  selection(): LogSelection {
    const { streams, until_ms, follow, max_bytes } = this.#select;
    if (!streams.every((stream) => this.#next.has(streamId[stream]))) return this.#select;
    const from = Object.fromEntries(streams.map((stream) => [stream, this.#next.get(streamId[stream])]));
    const rest = max_bytes === undefined ? {} : { max_bytes: Math.max(1, max_bytes - this.#bytes) };
    return { streams, from, follow, ...(until_ms === undefined ? {} : { until_ms }), ...rest };
  }

  get cutByLimit(): boolean {
    return this.#select.max_bytes !== undefined && this.#bytes >= this.#select.max_bytes;
  }

  /** A new connection: what was half received of the last one comes again. */
  restart(): void {
    this.#rest = new Uint8Array(0);
  }

  /**
   * Takes bytes in any pieces. Gives the whole records in them, and at the last record, the event, the state in it; a part
   * of a record stays here, so that what is passed on never ends inside of one.
   */
  advance(chunk: Uint8Array): { records: Uint8Array; end?: { state: ExecState | null } } {
    const bytes = this.#rest.byteLength === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let passed = 0;
    for (const record of new RecordParser().push(bytes)) {
      if (record.kind === 'event') {
        return { records: bytes.subarray(0, passed), end: { state: endOf(record.value) } };
      }
      if (record.kind === 'data') {
        this.#move(record.stream, record.offset, record.bytes.byteLength);
        this.#bytes += record.bytes.byteLength;
        passed += recordHeaderBytes + record.bytes.byteLength;
      } else {
        if (record.kind === 'gap') this.#move(record.stream, record.offset, record.missing);
        passed += recordHeaderBytes + 8;
      }
    }
    this.#rest = bytes.subarray(passed);
    return { records: bytes.subarray(0, passed) };
  }

  /** A stream goes on where it was left, and begins where it was asked for: an offset of the past or the future is a lie. */
  #move(stream: number, offset: number, length: number): void {
    const name = this.#select.streams.find((each) => streamId[each] === stream);
    if (name === undefined) throw new RemoteError('protocol_error', `stream ${stream} was not asked for`);
    const due = this.#next.get(stream) ?? this.#begin(name);
    if (due !== undefined && offset !== due)
      throw new RemoteError('protocol_error', `${name} goes on at ${offset} in place of ${due}`, {
        facts: { field: 'offset', value: offset },
      });
    if (offset + length > Number.MAX_SAFE_INTEGER)
      throw new RemoteError('protocol_error', `${name} ends beyond 2^53`);
    this.#next.set(stream, offset + length);
  }

  /** Undefined where only the machine knows: tails, times, and what retention of logs left. */
  #begin(name: 'stdout' | 'stderr'): number | undefined {
    const { from, since_ms } = this.#select;
    return since_ms === undefined ? from?.[name] : undefined;
  }
}

function endOf(value: unknown): ExecState | null {
  const event = endEvent.safeParse(value);
  if (event.success) return event.data.ended;
  throw new RemoteError('protocol_error', 'the last record of a log stream has not the expected shape');
}
