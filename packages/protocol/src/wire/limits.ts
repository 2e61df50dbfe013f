/**
 * Every limit of the wire, in one place. The name carries the unit. A limit that users meet is also in
 * `docs/protocol.md`; a test compares the two.
 */
export interface WireLimits {
  /** Largest frame, header included. Protects the receiver's memory; enforced by `maxPayload` of the transport and by decode. */
  readonly maxFrameBytes: number;
  /** Largest JSON hello frame, before anyone is authenticated. */
  readonly maxHelloBytes: number;
  /** From the upgrade to the welcome; the socket is destroyed when it passes. */
  readonly handshakeMs: number;
  /** Sockets in the handshake at once; further upgrades are refused with 503. */
  readonly maxHandshakes: number;
  /** Open channels in one session. An open beyond it is reset with `too_many_channels`. */
  readonly maxChannels: number;
  /** Credit a side has on a fresh channel, in payload bytes of DATA and MESSAGE. */
  readonly initialWindowBytes: number;
  /** A window never exceeds this; credit that would is a protocol error. */
  readonly maxWindowBytes: number;
  /** Session-wide DATA bytes sent and not yet acknowledged, at the start and as the floor. */
  readonly minUnackedBytes: number;
  /** The unacknowledged limit grows with the measured rate up to this. */
  readonly maxUnackedBytes: number;
  /** The receiver acknowledges at least every so many received payload bytes. */
  readonly ackEveryBytes: number;
  /** Frames handed to the socket and not yet taken by the kernel: above this the writer waits, so that control stays quick. */
  readonly maxSocketBufferBytes: number;
  /** A ping goes out after so long without sending anything. */
  readonly heartbeatMs: number;
  /** No byte received for this long ends the session: two heartbeats. */
  readonly silenceMs: number;
  /** Bytes queued in the socket that make no progress for this long end the session, though pings are answered. */
  readonly stalledMs: number;
  /** Nesting of a control message. Enforced by the pre-scan. */
  readonly maxMessageDepth: number;
  /** Values in one control message, keys included. Enforced by the pre-scan. */
  readonly maxMessageItems: number;
}

export const frameHeaderBytes = 8;

export const defaultWireLimits: WireLimits = Object.freeze({
  maxFrameBytes: 64 * 1024,
  maxHelloBytes: 4 * 1024,
  handshakeMs: 10_000,
  maxHandshakes: 256,
  maxChannels: 4096,
  initialWindowBytes: 256 * 1024,
  maxWindowBytes: 16 * 1024 * 1024,
  minUnackedBytes: 512 * 1024,
  maxUnackedBytes: 16 * 1024 * 1024,
  ackEveryBytes: 64 * 1024,
  maxSocketBufferBytes: 256 * 1024,
  heartbeatMs: 5_000,
  silenceMs: 10_000,
  stalledMs: 30_000,
  maxMessageDepth: 16,
  maxMessageItems: 16_384,
});
