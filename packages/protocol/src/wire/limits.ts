import { RemoteError } from './errors.ts';

/**
 * Every limit of the wire, in one place. The name carries the unit. `docs/protocol.md` lists them with their numbers; a
 * test compares the two.
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
  /** Open channels that one side opened. An open beyond it is reset with `too_many_channels`. */
  readonly maxChannels: number;
  /** Largest payload of OPEN: a verb and its parameters. Bulk travels as DATA. Enforced by decode. */
  readonly maxOpenBytes: number;
  /** Largest payload of RESET and GOAWAY. The sender shortens an error that is larger. Enforced by decode. */
  readonly maxErrorBytes: number;
  /** Credit a side has on a fresh channel, in payload bytes of DATA and MESSAGE. At least two frames, or senders could wait for ever. */
  readonly initialWindowBytes: number;
  /** A window never exceeds this; credit that would is a protocol error. */
  readonly maxWindowBytes: number;
  /** What all windows of a session may have grown beyond their initial size, together. Bounds what slow readers can hold. */
  readonly maxWindowGrowthBytes: number;
  /** Messages received on a channel and not yet taken; one more resets the channel with `too_large`. Bounds what tiny messages cost beyond their bytes. */
  readonly maxBacklogMessages: number;
  /** Session-wide payload bytes sent and not yet acknowledged above which DATA waits, at the start and as the floor. */
  readonly minUnackedBytes: number;
  /** The unacknowledged limit grows with the measured rate up to this. */
  readonly maxUnackedBytes: number;
  /** The receiver acknowledges at least every so many received payload bytes. At most half of `minUnackedBytes`. */
  readonly ackEveryBytes: number;
  /** Frames handed to the socket and not yet taken by the kernel: above this the writer waits, so that control stays quick. */
  readonly maxSocketBufferBytes: number;
  /** RESET frames that wait for a socket that takes nothing; one more ends the session: such a peer only asks and never reads. */
  readonly maxControlBacklog: number;
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
  maxOpenBytes: 16 * 1024,
  maxErrorBytes: 16 * 1024,
  initialWindowBytes: 256 * 1024,
  maxWindowBytes: 16 * 1024 * 1024,
  maxWindowGrowthBytes: 64 * 1024 * 1024,
  maxBacklogMessages: 16_384,
  minUnackedBytes: 512 * 1024,
  maxUnackedBytes: 16 * 1024 * 1024,
  ackEveryBytes: 64 * 1024,
  maxSocketBufferBytes: 256 * 1024,
  maxControlBacklog: 8192,
  heartbeatMs: 5_000,
  silenceMs: 10_000,
  stalledMs: 30_000,
  maxMessageDepth: 16,
  maxMessageItems: 16_384,
});

/** Limits that could deadlock or never fire are a defect of who made them: throws `internal` naming the rule. */
export function checkLimits(limits: WireLimits): WireLimits {
  const rules: readonly (readonly [boolean, string])[] = [
    [
      Object.values(limits).every((value) => Number.isSafeInteger(value) && value > 0),
      'every limit is a positive integer',
    ],
    [limits.maxFrameBytes >= 256, 'maxFrameBytes >= 256'],
    [limits.initialWindowBytes >= 2 * limits.maxFrameBytes, 'initialWindowBytes >= 2 * maxFrameBytes'],
    [limits.maxWindowBytes >= limits.initialWindowBytes, 'maxWindowBytes >= initialWindowBytes'],
    [limits.maxUnackedBytes >= limits.minUnackedBytes, 'maxUnackedBytes >= minUnackedBytes'],
    [limits.ackEveryBytes * 2 <= limits.minUnackedBytes, 'ackEveryBytes * 2 <= minUnackedBytes'],
    [limits.silenceMs >= 2 * limits.heartbeatMs, 'silenceMs >= 2 * heartbeatMs'],
    [limits.maxOpenBytes <= limits.maxFrameBytes - frameHeaderBytes, 'maxOpenBytes fits one frame'],
    [limits.maxErrorBytes <= limits.maxFrameBytes - frameHeaderBytes, 'maxErrorBytes fits one frame'],
  ];
  for (const [holds, rule] of rules) {
    if (!holds) throw new RemoteError('internal', `wire limits break the rule: ${rule}`);
  }
  return limits;
}
