import { isAscii, isUtf8 } from 'node:buffer';
import type { OutputRecord } from './follow.ts';

/** A line comes in pieces of at most so many bytes, its newline not counted. */
export const maxPieceBytes = 4096;

/** Where pieces of lines go. Calls come in the order of the stream. */
export interface PieceSink {
  /**
   * A line, or a piece of one (`partial`: the line goes on after it): text where its bytes are UTF-8, else the bytes,
   * which are not to be kept. `offset` to `next` is its place in the stream, the newline included.
   */
  piece(line: string | Uint8Array, offset: number, next: number, partial: boolean): void;
  /** `missing` bytes from `offset` on are gone. */
  gap(offset: number, missing: number): void;
}

/**
 * One stream's bytes as lines. Where pieces are cut depends on the bytes alone, never on how they arrived: after 4096
 * bytes of a longer line, before a UTF-8 character that would be cut.
 */
export class LineSplitter {
  readonly #sink: PieceSink;
  /** The beginning of a line that has not ended; our own copy. */
  #rest: Uint8Array = new Uint8Array(0);
  /** Offset of `#rest`, or of what comes next. */
  #offset = 0;

  constructor(sink: PieceSink) {
    this.#sink = sink;
  }

  /** `record.bytes` is not kept beyond the call. */
  push(record: Exclude<OutputRecord, { kind: 'time' }>): void {
    if (record.kind === 'gap') {
      this.flush(false);
      this.#sink.gap(record.offset, record.missing);
      this.#offset = record.offset + record.missing;
      return;
    }
    let bytes = record.bytes;
    if (this.#rest.byteLength === 0) this.#offset = record.offset;
    else bytes = this.#complete(bytes);
    const end = bytes.lastIndexOf(10) + 1;
    if (end > 0) {
      this.#lines(bytes.subarray(0, end));
      bytes = bytes.subarray(end);
    }
    if (bytes.byteLength > 0) this.#keep(bytes);
  }

  /** Gives what has no newline yet: as the whole last line of the stream, or as `partial`. */
  flush(partial: boolean): void {
    const rest = this.#rest;
    if (rest.byteLength === 0) return;
    this.#rest = new Uint8Array(0);
    this.#one(rest, rest.byteLength, partial);
  }

  /** Joins the waiting beginning with its line's end in `bytes`, if that is there; returns what is to be looked at next. */
  #complete(bytes: Uint8Array): Uint8Array {
    const newline = bytes.indexOf(10);
    const head = newline === -1 ? bytes : bytes.subarray(0, newline + 1);
    const joined = Buffer.concat([this.#rest, head]);
    this.#rest = new Uint8Array(0);
    if (newline === -1) {
      this.#keep(joined);
      return new Uint8Array(0);
    }
    this.#lines(joined);
    return bytes.subarray(newline + 1);
  }

  /** `bytes` are without a newline, from `#offset` on: pieces of what is already too long, the rest is kept. */
  #keep(bytes: Uint8Array): void {
    let at = 0;
    while (bytes.byteLength - at > maxPieceBytes) {
      const length = pieceLength(bytes, at);
      this.#one(bytes.subarray(at, at + length), length, true);
      at += length;
    }
    this.#rest = bytes.slice(at);
  }

  /** Whole lines, each with its newline. */
  #lines(bytes: Uint8Array): void {
    const region = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (isAscii(region)) this.#text(region, region.toString('latin1'), true);
    else if (isUtf8(region)) this.#text(region, region.toString('utf8'), false);
    else {
      for (let at = 0; at < region.byteLength; ) {
        const newline = region.indexOf(10, at);
        this.#line(region.subarray(at, newline));
        at = newline + 1;
      }
    }
  }

  /** The quick way: one decoding for all lines. In ASCII a character is a byte, else newlines are looked for in both. */
  #text(region: Buffer, text: string, ascii: boolean): void {
    let byte = 0;
    for (let at = 0; at < text.length; ) {
      const newline = text.indexOf('\n', at);
      const end = ascii ? newline : region.indexOf(10, byte);
      if (end - byte > maxPieceBytes) this.#line(region.subarray(byte, end));
      else {
        const offset = this.#offset;
        this.#offset += end + 1 - byte;
        this.#sink.piece(text.slice(at, newline), offset, this.#offset, false);
      }
      at = newline + 1;
      byte = end + 1;
    }
  }

  /** One line without its newline, of any length. */
  #line(bytes: Uint8Array): void {
    let at = 0;
    while (bytes.byteLength - at > maxPieceBytes) {
      const length = pieceLength(bytes, at);
      this.#one(bytes.subarray(at, at + length), length, true);
      at += length;
    }
    const last = bytes.subarray(at);
    this.#one(last, last.byteLength + 1, false);
  }

  #one(bytes: Uint8Array, length: number, partial: boolean): void {
    const offset = this.#offset;
    this.#offset += length;
    const line = isUtf8(bytes)
      ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
      : bytes;
    this.#sink.piece(line, offset, this.#offset, partial);
  }
}

/** Length of the piece that begins at `at` of a line with more than 4096 bytes left. */
function pieceLength(bytes: Uint8Array, at: number): number {
  for (let back = 1; back <= 3; back++) {
    const byte = bytes[at + maxPieceBytes - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const wanted = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return wanted > back ? maxPieceBytes - back : maxPieceBytes;
  }
  return maxPieceBytes;
}
