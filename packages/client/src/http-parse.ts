import { RemoteError } from '@codex-remote/protocol/wire';

/** Status line and headers together; ours are under 500 bytes. */
const maxHeadBytes = 16 * 1024;
/** Size line of a chunk, extensions included. */
const maxSizeLineBytes = 64;
const maxTrailerBytes = 4 * 1024;

export interface Head {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
}

export type BodyKind = number | 'chunked' | 'close';

/** Collects the head of an answer; interim answers (1xx) are skipped. */
export class HeadReader {
  #bytes: Uint8Array = new Uint8Array(0);

  /** The head and what follows it, or undefined while it is not whole. Throws `protocol_error`. */
  push(chunk: Uint8Array): { head: Head; rest: Uint8Array } | undefined {
    let bytes = this.#bytes.byteLength === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    for (;;) {
      const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const end = buffer.indexOf('\r\n\r\n');
      if ((end === -1 ? bytes.byteLength : end) > maxHeadBytes)
        throw broken(`head is over ${maxHeadBytes} bytes`);
      if (end === -1) {
        this.#bytes = bytes;
        return undefined;
      }
      const head = parseHead(buffer.toString('latin1', 0, end));
      bytes = bytes.subarray(end + 4);
      if (head.status >= 200) return { head, rest: bytes };
    }
  }
}

function parseHead(text: string): Head {
  const [statusLine = '', ...lines] = text.split('\r\n');
  const status = /^HTTP\/1\.[01] ([1-5]\d\d)(?: |$)/.exec(statusLine)?.[1];
  if (status === undefined) throw broken('status line is not HTTP/1.1');
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
    if (name === undefined || value === undefined) throw broken('header line has no name');
    const key = name.toLowerCase();
    const before = headers.get(key);
    headers.set(key, before === undefined ? value : `${before}, ${value}`);
  }
  return { status: Number(status), headers };
}

/** How the body ends (RFC 9112 section 6.3); two ways at once are refused. */
export function bodyKindOf(head: Head): BodyKind {
  if (head.status === 204 || head.status === 304) return 0;
  const coding = head.headers.get('transfer-encoding');
  const length = head.headers.get('content-length');
  if (coding !== undefined && length !== undefined)
    throw broken('body has both a length and a transfer coding');
  if (coding !== undefined) {
    if (coding.toLowerCase() !== 'chunked')
      throw broken(`transfer coding ${JSON.stringify(coding.slice(0, 40))} is unknown`);
    return 'chunked';
  }
  if (length === undefined) return 'close';
  if (!/^\d{1,15}$/.test(length)) throw broken('content-length is not a number');
  return Number(length);
}

/** Takes the bytes after the head in any pieces and gives the body's; pieces are views into what was pushed. */
export class BodyDecoder {
  readonly kind: 'length' | 'chunked' | 'close';
  /** Bytes that are still to come of the body or of the current chunk. */
  #left = 0;
  #state: 'size' | 'data' | 'data-end' | 'trailer' | 'done';
  /** The size line or trailer as far as it has come. */
  #line = '';

  constructor(kind: BodyKind) {
    if (typeof kind === 'number') {
      this.kind = 'length';
      this.#left = kind;
      this.#state = kind === 0 ? 'done' : 'data';
    } else {
      this.kind = kind;
      this.#state = kind === 'chunked' ? 'size' : 'data';
    }
  }

  get whole(): boolean {
    return this.#state === 'done';
  }

  /** Throws `protocol_error`; bytes after the end are one. */
  *push(bytes: Uint8Array): Generator<Uint8Array, void, void> {
    if (this.kind === 'close') {
      if (bytes.byteLength > 0) yield bytes;
      return;
    }
    let at = 0;
    while (at < bytes.byteLength) {
      if (this.#state === 'done') throw broken('bytes follow the end of the body');
      if (this.#state !== 'data') {
        at = this.#readLine(bytes, at);
        continue;
      }
      const end = Math.min(bytes.byteLength, at + this.#left);
      yield bytes.subarray(at, end);
      this.#left -= end - at;
      at = end;
      if (this.#left === 0) this.#state = this.kind === 'length' ? 'done' : 'data-end';
    }
  }

  #readLine(bytes: Uint8Array, from: number): number {
    const limit = this.#state === 'trailer' ? maxTrailerBytes : maxSizeLineBytes;
    const newline = bytes.indexOf(10, from);
    const end = newline === -1 ? bytes.byteLength : newline + 1;
    if (this.#line.length + end - from > limit) throw broken('chunk line is too long');
    this.#line += Buffer.from(bytes.buffer, bytes.byteOffset + from, end - from).toString('latin1');
    if (newline === -1) return end;
    if (!this.#line.endsWith('\r\n')) throw broken('chunk line does not end with CRLF');
    const line = this.#line.slice(0, -2);
    this.#line = '';
    this.#endLine(line);
    return end;
  }

  #endLine(line: string): void {
    if (this.#state === 'data-end') {
      if (line !== '') throw broken('chunk is longer than its size');
      this.#state = 'size';
    } else if (this.#state === 'trailer') {
      if (line === '') this.#state = 'done';
    } else {
      const size = /^([0-9a-fA-F]{1,12})[ \t]*(?:;.*)?$/.exec(line)?.[1];
      if (size === undefined) throw broken('chunk size is not a number');
      this.#left = Number.parseInt(size, 16);
      this.#state = this.#left === 0 ? 'trailer' : 'data';
    }
  }
}

function broken(what: string): RemoteError {
  return new RemoteError('protocol_error', `the controller's answer is not valid HTTP: ${what}`);
}
