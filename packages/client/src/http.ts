import type { Socket } from 'node:net';
import { RemoteError } from '@codex-remote/protocol/wire';
import { type Endpoint, unixEndpoint } from './endpoint.ts';
import { BodyDecoder, type BodyKind, bodyKindOf, type Head, HeadReader } from './http-parse.ts';

/** One request, on a connection of its own. */
export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Path and query, already encoded. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** A whole body goes out with its length, an iterable one in chunks as fast as the peer takes them. */
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>;
  /** Pieces of the body are their owner's again when the next one is asked for: each is waited for until the system has it. */
  readonly reusesBody?: boolean;
  /** Ends the exchange at once; what is waiting rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** From the call to the head of the answer; absent = as long as it takes. */
  readonly answerMs?: number;
}

export interface HttpResponse {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  /** Read once; its pieces are the reader's to keep. Throws `stream_cut` when the connection ends before the body does. */
  readonly body: AsyncIterable<Uint8Array>;
  /** Ends the exchange; safe to call more than once and after the body has been read. */
  close(): void;
}

/** Above this many received and unread bytes the socket is paused; it goes on below a quarter. */
const maxUnreadBytes = 1024 * 1024;

/**
 * HTTP/1.1 (RFC 9112) by hand, over a Unix socket or TLS: `node:http` costs a short command 40 ms. Resolves with the head of
 * the answer; who does not read the body to its end calls `close`.
 *
 * Throws `sandbox_denied` (EPERM, EACCES), `controller_unreachable` (not there, or gone before it answered; `sent` says
 * whether it may have read the request, `facts.errno` why), `certificate_mismatch` and `protocol_error`. `to`: a path is a Unix socket.
 */
export function request(to: string | Endpoint, wanted: HttpRequest): Promise<HttpResponse> {
  return new Exchange(typeof to === 'string' ? unixEndpoint(to) : to, wanted).answer;
}

class Exchange {
  readonly answer: Promise<HttpResponse>;
  readonly #endpoint: Endpoint;
  readonly #wanted: HttpRequest;
  readonly #socket: Socket;
  readonly #head = new HeadReader();
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #connecting: NodeJS.Timeout | undefined;
  readonly #abort = () => this.#fail(abortReason(this.#wanted.signal));
  #resolve: (response: HttpResponse) => void = () => {};
  #reject: (error: unknown) => void = () => {};
  #decoder: BodyDecoder | undefined;
  #unread: Uint8Array[] = [];
  #unreadBytes = 0;
  #wake: (() => void) | undefined;
  #drained: (() => void) | undefined;
  #connected = false;
  #answered = false;
  /** The body is whole. */
  #done = false;
  /** Set once: why the exchange ended before `#done`. */
  #failure: unknown;

  constructor(endpoint: Endpoint, wanted: HttpRequest) {
    this.#endpoint = endpoint;
    this.#wanted = wanted;
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#socket = endpoint.open(
      () => {
        this.#connected = true;
        clearTimeout(this.#connecting);
        void this.#send();
      },
      (error) => this.#fail(error),
    );
    this.#socket.on('error', (error) => this.#fail(this.#connectionError(error)));
    this.#socket.on('close', () => this.#closed());
    this.#socket.on('data', (bytes) => this.#receive(bytes));
    this.#socket.on('end', () => this.#closed());
    this.#socket.on('drain', () => this.#drained?.());
    this.#connecting = this.#limit(endpoint.connectMs, `no connection ${endpoint.name} was made`);
    this.#timer = this.#limit(wanted.answerMs, 'the controller did not answer');
    if (wanted.signal?.aborted) this.#abort();
    else wanted.signal?.addEventListener('abort', this.#abort, { once: true });
  }

  #limit(ms: number | undefined, what: string): NodeJS.Timeout | undefined {
    if (ms === undefined) return undefined;
    return setTimeout(() => {
      const details = { sent: this.#sent(), facts: { errno: 'ETIMEDOUT' } };
      this.#fail(new RemoteError('controller_unreachable', `${what} within ${ms} ms`, details));
    }, ms);
  }

  async #send(): Promise<void> {
    const { method, path, headers, body } = this.#wanted;
    let head = `${method} ${path} HTTP/1.1\r\n${this.#endpoint.head}connection: close\r\n`;
    for (const name in headers) head += `${name}: ${headers[name]}\r\n`;
    if (body === undefined) {
      this.#socket.write(method === 'GET' ? `${head}\r\n` : `${head}content-length: 0\r\n\r\n`);
      return;
    }
    if (body instanceof Uint8Array) {
      const start = Buffer.from(`${head}content-length: ${body.byteLength}\r\n\r\n`);
      this.#socket.write(Buffer.concat([start, body]));
      return;
    }
    this.#socket.write(`${head}transfer-encoding: chunked\r\n\r\n`);
    try {
      for await (const chunk of body) {
        if (this.#failure !== undefined || this.#done) return;
        if (chunk.byteLength === 0) continue;
        this.#socket.cork();
        this.#socket.write(`${chunk.byteLength.toString(16)}\r\n`);
        this.#socket.write(chunk);
        const taken = new Promise<void>((resolve) => {
          this.#drained = resolve;
        });
        const room = this.#socket.write('\r\n', () => this.#wanted.reusesBody && this.#drained?.());
        this.#socket.uncork();
        if (!room || this.#wanted.reusesBody) await taken;
      }
      this.#socket.write('0\r\n\r\n');
    } catch (error) {
      this.#fail(error);
    }
  }

  #receive(bytes: Uint8Array): void {
    try {
      if (this.#decoder !== undefined) this.#receiveBody(this.#decoder, bytes);
      else {
        const read = this.#head.push(bytes);
        if (read === undefined) return;
        const decoder = this.#begin(read.head, bodyKindOf(read.head));
        this.#receiveBody(decoder, read.rest);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #begin(head: Head, kind: BodyKind): BodyDecoder {
    const decoder = new BodyDecoder(kind);
    this.#decoder = decoder;
    this.#answered = true;
    clearTimeout(this.#timer);
    this.#resolve({
      status: head.status,
      headers: head.headers,
      body: this.#read(),
      close: () => this.#end(),
    });
    return decoder;
  }

  #receiveBody(decoder: BodyDecoder, bytes: Uint8Array): void {
    for (const piece of decoder.push(bytes)) {
      this.#unread.push(piece);
      this.#unreadBytes += piece.byteLength;
    }
    if (decoder.whole) this.#finish();
    else if (this.#unreadBytes > maxUnreadBytes) this.#socket.pause();
    this.#wake?.();
  }

  async *#read(): AsyncGenerator<Uint8Array, void, void> {
    try {
      for (;;) {
        const piece = this.#unread.shift();
        if (piece !== undefined) {
          this.#unreadBytes -= piece.byteLength;
          if (this.#unreadBytes < maxUnreadBytes / 4 && this.#socket.isPaused()) this.#socket.resume();
          yield piece;
        } else if (this.#failure !== undefined) throw this.#failure;
        else if (this.#done) return;
        else
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
      }
    } finally {
      this.#end();
    }
  }

  #finish(): void {
    this.#done = true;
    this.#release();
    this.#socket.destroy();
  }

  /** The peer closed, or the socket is gone. Only a body that ends with the connection may end so. */
  #closed(): void {
    if (this.#done || this.#failure !== undefined) return;
    if (this.#decoder?.kind === 'close') {
      this.#finish();
      this.#wake?.();
    } else if (this.#answered)
      this.#fail(
        new RemoteError('stream_cut', "the controller's answer ended before its last byte", { sent: 'yes' }),
      );
    else
      this.#fail(
        new RemoteError(
          'controller_unreachable',
          `the controller ${this.#endpoint.name} closed the connection before it answered`,
          { sent: this.#sent(), facts: { errno: 'ECONNRESET' } },
        ),
      );
  }

  #connectionError(error: NodeJS.ErrnoException): RemoteError {
    const errno = error.code ?? 'unknown';
    if (this.#answered)
      return new RemoteError(
        'stream_cut',
        `the controller's answer broke off (${errno})`,
        { sent: 'yes' },
        error,
      );
    if (errno === 'EPERM' || errno === 'EACCES') return this.#endpoint.refused(errno, error);
    const known = this.#endpoint.explain?.(this.#socket, error);
    if (known) return known;
    return new RemoteError(
      'controller_unreachable',
      `the controller ${this.#endpoint.name} does not answer (${errno})`,
      { sent: this.#sent(), facts: { errno } },
      error,
    );
  }

  #sent(): 'no' | 'unknown' {
    return this.#connected ? 'unknown' : 'no';
  }

  #fail(error: unknown): void {
    if (this.#done || this.#failure !== undefined) return;
    this.#failure = error;
    this.#release();
    this.#socket.destroy();
    this.#reject(error);
    this.#wake?.();
  }

  #end(): void {
    if (!this.#done && this.#failure === undefined)
      this.#failure = new RemoteError('cancelled', 'the exchange was closed by its caller');
    this.#release();
    this.#socket.destroy();
    this.#wake?.();
  }

  #release(): void {
    clearTimeout(this.#connecting);
    clearTimeout(this.#timer);
    this.#wanted.signal?.removeEventListener('abort', this.#abort);
    this.#drained?.();
  }
}

function abortReason(signal: AbortSignal | undefined): unknown {
  return signal?.reason ?? new RemoteError('cancelled', 'the request was withdrawn');
}
