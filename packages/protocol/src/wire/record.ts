import { RemoteError } from './errors.ts';

/**
 * Records: how bytes with a place in a stream travel, on an agent's channel and in an HTTP body alike.
 *
 *   0      1       2       4         8          16
 *   | kind | stream | zero | length  | offset   | payload (length bytes)
 *   | u8   | u8     | u16  | u32 BE  | u64 BE   |
 *
 * data   bytes of `stream` beginning at `offset`
 * time   payload u64 BE, milliseconds since the epoch: everything of `stream` before `offset` had been written by then
 * gap    payload u64 BE, a count of bytes from `offset` on that are gone
 * event  payload JSON (UTF-8), stream 0, offset 0
 */
export const recordHeaderBytes = 16;
/** Largest payload of one record, so that record and frame header fit one frame. */
export const maxRecordPayloadBytes = 64 * 1024 - 8 - recordHeaderBytes;

export const recordKind = { data: 1, time: 2, gap: 3, event: 4 } as const;

/** Streams of an exec, and the content of a file. Positions in the file system and on the wire never change. */
export const streamId = { stdin: 0, stdout: 1, stderr: 2, script: 3, spec: 4, content: 5 } as const;
export type StreamName = keyof typeof streamId;

export type ExecRecord =
  | { kind: 'data'; stream: number; offset: number; bytes: Uint8Array }
  | { kind: 'time'; stream: number; offset: number; epochMs: number }
  | { kind: 'gap'; stream: number; offset: number; missing: number }
  | { kind: 'event'; value: unknown };

const utf8 = new TextEncoder();
const strictUtf8 = new TextDecoder('utf-8', { fatal: true });

export function encodeRecord(record: ExecRecord): Uint8Array {
  switch (record.kind) {
    case 'data':
      return withHeader(recordKind.data, record.stream, record.offset, record.bytes);
    case 'time':
      return withHeader(recordKind.time, record.stream, record.offset, u64(record.epochMs));
    case 'gap':
      return withHeader(recordKind.gap, record.stream, record.offset, u64(record.missing));
    case 'event':
      return withHeader(recordKind.event, 0, 0, utf8.encode(JSON.stringify(record.value)));
  }
}

/** Writes a header for `length` payload bytes that follow at `at + recordHeaderBytes`; for senders that read a file straight into place. */
export function writeRecordHeader(
  into: Uint8Array,
  at: number,
  kind: number,
  stream: number,
  length: number,
  offset: number,
): void {
  const view = new DataView(into.buffer, into.byteOffset + at, recordHeaderBytes);
  view.setUint8(0, kind);
  view.setUint8(1, stream);
  view.setUint16(2, 0);
  view.setUint32(4, length);
  view.setBigUint64(8, BigInt(offset));
}

function withHeader(kind: number, stream: number, offset: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(recordHeaderBytes + payload.byteLength);
  writeRecordHeader(bytes, 0, kind, stream, payload.byteLength, offset);
  bytes.set(payload, recordHeaderBytes);
  return bytes;
}

function u64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(Math.trunc(value)));
  return bytes;
}

export interface RecordParserOptions {
  /** Data records may come in parts, each with its own offset: nothing of a payload is kept or copied. */
  readonly split?: boolean;
}

/**
 * Takes bytes in any pieces and gives records, whole ones unless `split`. Data that is in one piece is a view into it (no
 * copy): who keeps it beyond the call copies it. Throws `protocol_error`; the parser is then of no further use.
 */
export class RecordParser {
  readonly #split: boolean;
  #rest: Uint8Array = new Uint8Array(0);
  /** A data record of which a part was given. */
  #open: { readonly stream: number; offset: number; left: number } | undefined;

  constructor({ split = false }: RecordParserOptions = {}) {
    this.#split = split;
  }

  /** True when no record is half received: a stream that ends otherwise was cut. */
  get atBoundary(): boolean {
    return this.#rest.byteLength === 0 && this.#open === undefined;
  }

  *push(chunk: Uint8Array): Generator<ExecRecord, void, void> {
    let bytes = chunk;
    if (this.#open) {
      const part = chunk.subarray(0, this.#open.left);
      if (part.byteLength > 0) yield this.#take(this.#open, part);
      bytes = chunk.subarray(part.byteLength);
    } else if (this.#rest.byteLength > 0) {
      bytes = concat(this.#rest, chunk);
      this.#rest = new Uint8Array(0);
    }
    let at = 0;
    while (bytes.byteLength - at >= recordHeaderBytes) {
      const view = new DataView(bytes.buffer, bytes.byteOffset + at, recordHeaderBytes);
      const length = view.getUint32(4);
      if (length > maxRecordPayloadBytes) {
        throw new RemoteError('protocol_error', `record length ${length} is over ${maxRecordPayloadBytes}`);
      }
      const start = at + recordHeaderBytes;
      const payload = bytes.subarray(start, start + length);
      if (payload.byteLength < length) {
        if (!this.#split || view.getUint8(0) !== recordKind.data) break;
        const record = decodeRecord(view, payload);
        if (record.kind !== 'data') break;
        this.#open = { stream: record.stream, offset: record.offset, left: length };
        if (payload.byteLength > 0) yield this.#take(this.#open, payload);
        return;
      }
      yield decodeRecord(view, payload);
      at = start + length;
    }
    if (at < bytes.byteLength) this.#rest = bytes.slice(at);
  }

  #take(open: { readonly stream: number; offset: number; left: number }, bytes: Uint8Array): ExecRecord {
    const { stream, offset } = open;
    open.offset += bytes.byteLength;
    open.left -= bytes.byteLength;
    if (open.left === 0) this.#open = undefined;
    return { kind: 'data', stream, offset, bytes };
  }
}

function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(first.byteLength + second.byteLength);
  bytes.set(first);
  bytes.set(second, first.byteLength);
  return bytes;
}

function decodeRecord(header: DataView, payload: Uint8Array): ExecRecord {
  const kind = header.getUint8(0);
  const stream = header.getUint8(1);
  if (header.getUint16(2) !== 0) throw new RemoteError('protocol_error', 'record has non-zero reserved bits');
  const offset = safeInteger('offset', header.getBigUint64(8));
  switch (kind) {
    case recordKind.data:
      return { kind: 'data', stream, offset, bytes: payload };
    case recordKind.time:
      return { kind: 'time', stream, offset, epochMs: readU64('time', payload) };
    case recordKind.gap:
      return { kind: 'gap', stream, offset, missing: readU64('gap', payload) };
    case recordKind.event:
      return { kind: 'event', value: parseEvent(payload) };
    default:
      throw new RemoteError('protocol_error', `record kind ${kind} is unknown`);
  }
}

function parseEvent(payload: Uint8Array): unknown {
  try {
    return JSON.parse(strictUtf8.decode(payload));
  } catch (error) {
    throw new RemoteError('protocol_error', 'event record is not JSON', {}, error);
  }
}

function readU64(field: string, payload: Uint8Array): number {
  if (payload.byteLength !== 8) throw new RemoteError('protocol_error', `record ${field} is not 8 bytes`);
  return safeInteger(field, new DataView(payload.buffer, payload.byteOffset, 8).getBigUint64(0));
}

function safeInteger(field: string, value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new RemoteError('protocol_error', `record ${field} is over 2^53`);
  }
  return Number(value);
}
