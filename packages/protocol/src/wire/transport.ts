/**
 * What carries the frames of one session: whole binary messages, in order, both ways. `ws` is behind it in one adapter;
 * tests put a pipe or a simulated link there.
 *
 * Ownership: the session that attaches owns the transport from then on and ends it on every path by `close` or `destroy`.
 */
export interface Transport {
  /**
   * Queues one binary message. The bytes belong to the transport from here on. Never throws and never waits: a failure
   * comes as `closed`.
   */
  send(frame: Uint8Array): void;
  /** Bytes queued by `send` and not yet taken by the kernel (or the layer below). */
  bufferedBytes(): number;
  /** Called once. Frames that came earlier are kept and delivered in order, by this call or after it. */
  attach(handlers: TransportHandlers): void;
  /**
   * Sends what is queued, then closes with the code and reason (RFC 6455 §7.4). Reaches `closed` in bounded time also
   * when the peer never answers. Calling it again does nothing.
   */
  close(code: number, reason: string): void;
  /** Drops the connection at once, with what is queued. For a peer that no longer answers. */
  destroy(): void;
}

export interface TransportHandlers {
  /** One whole binary message. The bytes belong to the receiver of the call; they may be a view into a larger buffer. */
  frame(bytes: Uint8Array): void;
  /** Any bytes came from the peer, a part of a large message too: the sign of life that the silence watchdog counts. */
  activity(): void;
  /** `bufferedBytes` fell. May be called more often than needed. */
  drained(): void;
  /**
   * The connection is over, nothing else will be called. `cause` is a RemoteError or what the system said; absent or not
   * a RemoteError means `connection_reset` to all who wait.
   */
  closed(cause?: unknown): void;
}
