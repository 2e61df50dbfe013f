import { frameHeaderBytes, type WireLimits } from './limits.ts';

/**
 * One frame is one binary WebSocket message:
 *
 *   0      1       2       4          8
 *   | kind | flags | zero  | channel  | payload: the rest of the message
 *   | u8   | u8    | u16   | u32 BE   |
 *
 * No flag is defined in version 1: `flags` is zero. `channel` is zero in frames about the session.
 */
export const frameKind = {
  /** msgpack {verb, params}: begins a channel. */
  open: 1,
  /** msgpack: one value, whole in one frame. */
  message: 2,
  /** Raw bytes of a stream; where one frame ends has no meaning. */
  data: 3,
  /** u32 BE: so many more payload bytes may be sent on the channel. */
  window: 4,
  /** Empty: the sender sends no more MESSAGE or DATA on the channel. */
  end: 5,
  /** msgpack WireError: the channel is over, both ways, at once. */
  reset: 6,
  /** 8 bytes that the peer sends back in a PONG. */
  ping: 7,
  pong: 8,
  /** u64 BE: payload bytes of DATA and MESSAGE received in this session so far. */
  ack: 9,
  /** msgpack WireError: the session is over. */
  goaway: 10,
} as const;

export type FrameName = keyof typeof frameKind;

/** A frame taken apart. `payload` is a view into the message that it came in; msgpack in it is not yet looked at. */
export type Frame =
  | { kind: 'open'; channel: number; payload: Uint8Array }
  | { kind: 'message'; channel: number; payload: Uint8Array }
  | { kind: 'data'; channel: number; payload: Uint8Array }
  | { kind: 'window'; channel: number; credit: number }
  | { kind: 'end'; channel: number }
  | { kind: 'reset'; channel: number; payload: Uint8Array }
  | { kind: 'ping'; nonce: bigint }
  | { kind: 'pong'; nonce: bigint }
  | { kind: 'ack'; total: number }
  | { kind: 'goaway'; payload: Uint8Array };

/** What holds for every frame of a kind: of whom it speaks, and the payload sizes that are legal. */
export interface FrameRule {
  readonly name: FrameName;
  readonly scope: 'channel' | 'session';
  readonly minPayloadBytes: number;
  maxPayloadBytes(limits: WireLimits): number;
}

const wholeFrame = (limits: WireLimits): number => limits.maxFrameBytes - frameHeaderBytes;
const openBytes = (limits: WireLimits): number => limits.maxOpenBytes;
const errorBytes = (limits: WireLimits): number => limits.maxErrorBytes;
const exactly = (bytes: number) => (): number => bytes;

/** Indexed by the kind byte. */
export const frameRules: readonly (FrameRule | undefined)[] = [
  undefined,
  { name: 'open', scope: 'channel', minPayloadBytes: 1, maxPayloadBytes: openBytes },
  { name: 'message', scope: 'channel', minPayloadBytes: 1, maxPayloadBytes: wholeFrame },
  { name: 'data', scope: 'channel', minPayloadBytes: 1, maxPayloadBytes: wholeFrame },
  { name: 'window', scope: 'channel', minPayloadBytes: 4, maxPayloadBytes: exactly(4) },
  { name: 'end', scope: 'channel', minPayloadBytes: 0, maxPayloadBytes: exactly(0) },
  { name: 'reset', scope: 'channel', minPayloadBytes: 1, maxPayloadBytes: errorBytes },
  { name: 'ping', scope: 'session', minPayloadBytes: 8, maxPayloadBytes: exactly(8) },
  { name: 'pong', scope: 'session', minPayloadBytes: 8, maxPayloadBytes: exactly(8) },
  { name: 'ack', scope: 'session', minPayloadBytes: 8, maxPayloadBytes: exactly(8) },
  { name: 'goaway', scope: 'session', minPayloadBytes: 1, maxPayloadBytes: errorBytes },
];

/** Channel ids are u32; 0 is the session. */
export const maxChannelId = 0xffff_ffff;
