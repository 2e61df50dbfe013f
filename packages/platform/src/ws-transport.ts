import type { Duplex } from 'node:stream';
import {
  defaultWireLimits,
  RemoteError,
  type Transport,
  type TransportHandlers,
} from '@codex-remote/protocol/wire';
import type { ClientOptions, RawData, WebSocket } from 'ws';

/** The subprotocol of the upgrade (RFC 6455 §1.9): a peer that does not know it is not one of ours. */
export const webSocketProtocol = 'codex-remote.v1';

/** What both sides ask of `ws`: no compression, no fragments, nothing larger than a frame, nothing followed. */
export const webSocketLimits = {
  maxPayload: defaultWireLimits.maxFrameBytes,
  maxFragments: 2,
  maxBufferedChunks: 1024,
  perMessageDeflate: false,
  closeTimeout: 1_000,
} as const;

/**
 * For links where masking protects nothing (Unix socket, TLS, SSH; RFC 6455 §10.3 is about plain HTTP proxies): a mask
 * of zeros is valid on the wire and makes `ws` skip the work, 0.28 -> 1.3 GB/s.
 */
export const zeroMask: NonNullable<ClientOptions['generateMask']> = (mask) => {
  mask.fill(0);
};

/** Binary frames that came before `attach`: what a peer can send right behind its last hello. */
const maxEarlyFrames = 64;

/**
 * One `ws` connection as a `Transport`, and before that as the text frames of the handshake. The only code that knows
 * `ws`. Owns the socket from construction on: `destroy` (or the peer) ends it, on every path.
 */
export class WsTransport implements Transport {
  readonly #ws: WebSocket;
  readonly #socket: Duplex;
  #handlers: TransportHandlers | undefined;
  #early: Uint8Array[] = [];
  #texts: string[] = [];
  #textWaiter: { resolve(text: string): void; reject(error: RemoteError): void } | undefined;
  #closed: { cause?: unknown } | undefined;
  #error: unknown;
  #corked = false;

  constructor(ws: WebSocket, socket: Duplex) {
    this.#ws = ws;
    this.#socket = socket;
    ws.binaryType = 'nodebuffer';
    ws.on('message', this.#onMessage);
    ws.on('error', (error: Error) => {
      this.#error ??= error;
    });
    ws.on('close', (code: number, reason: Buffer) => this.#onClose(code, reason.toString('utf8')));
    // ws answers pings by itself and tells of whole messages only: activity must be seen below it.
    socket.on('data', this.#onBytes);
  }

  /** The next text frame of the handshake. Rejects when the connection ends or a binary frame is first. */
  receiveText(): Promise<string> {
    const text = this.#texts.shift();
    if (text !== undefined) return Promise.resolve(text);
    if (this.#closed) return Promise.reject(this.#closedError());
    return new Promise((resolve, reject) => {
      this.#textWaiter = { resolve, reject };
    });
  }

  sendText(text: string): void {
    this.#ws.send(text);
  }

  attach(handlers: TransportHandlers): void {
    this.#handlers = handlers;
    const early = this.#early;
    this.#early = [];
    for (const frame of early) handlers.frame(frame);
    if (this.#closed) handlers.closed(this.#closed.cause);
  }

  /** Frames that are sent in one turn go out in one writev(2): each costs both sides more than its bytes do. */
  send(frame: Uint8Array): void {
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      process.nextTick(this.#uncork);
    }
    this.#ws.send(frame, this.#onSent);
  }

  bufferedBytes(): number {
    return this.#ws.bufferedAmount;
  }

  close(code: number, reason: string): void {
    // RFC 6455 §5.5: a control frame carries at most 125 bytes, two of them the code.
    this.#ws.close(code, Buffer.from(reason).subarray(0, 120).toString('utf8').replace(/�$/, ''));
  }

  destroy(): void {
    this.#ws.terminate();
    this.#socket.destroy();
  }

  /** Flushes what was sent (a refusal) and then destroys; `closeTimeout` bounds how long a peer can delay it. */
  destroySoon(): void {
    this.#ws.once('close', () => this.#socket.destroy());
  }

  readonly #uncork = (): void => {
    this.#corked = false;
    this.#socket.uncork();
  };

  readonly #onBytes = (): void => {
    this.#handlers?.activity();
  };

  readonly #onSent = (): void => {
    this.#handlers?.drained();
  };

  readonly #onMessage = (data: RawData, isBinary: boolean): void => {
    if (!isBinary) return this.#onText(String(data));
    const frame = data as Buffer;
    if (this.#handlers) return this.#handlers.frame(frame);
    if (this.#textWaiter || this.#early.length >= maxEarlyFrames)
      return this.#refuse('a binary frame came before the handshake was over');
    this.#early.push(frame);
  };

  #onText(text: string): void {
    if (this.#handlers) return this.#refuse('a text frame came after the handshake');
    if (Buffer.byteLength(text) > defaultWireLimits.maxHelloBytes)
      return this.#refuse('a hello frame is too large');
    const waiter = this.#textWaiter;
    this.#textWaiter = undefined;
    if (waiter) waiter.resolve(text);
    else if (this.#texts.length >= 4) this.#refuse('too many hello frames');
    else this.#texts.push(text);
  }

  #refuse(message: string): void {
    this.#error ??= new RemoteError('protocol_error', message);
    this.destroy();
  }

  #onClose(code: number, reason: string): void {
    if (this.#closed) return;
    this.#socket.off('data', this.#onBytes);
    const cause =
      this.#error ??
      new RemoteError(
        'connection_reset',
        `connection reset by peer (close ${code}${reason ? ` ${reason}` : ''})`,
      );
    this.#closed = { cause };
    this.#textWaiter?.reject(this.#closedError());
    this.#textWaiter = undefined;
    this.#handlers?.closed(cause);
  }

  #closedError(): RemoteError {
    const cause = this.#closed?.cause;
    return cause instanceof RemoteError
      ? cause
      : new RemoteError('connection_reset', 'connection reset by peer', {}, cause);
  }
}
