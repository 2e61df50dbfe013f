import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeFrame,
  encodeFrame,
  type Frame,
  frameHeaderBytes,
  frameKind,
  frameRules,
  defaultWireLimits as limits,
  RemoteError,
} from '../src/wire/index.ts';

const channel = fc.integer({ min: 1, max: 0xffff_ffff });
const bytes = (max: number) => fc.uint8Array({ minLength: 1, maxLength: max });
const nonce = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

const frames: fc.Arbitrary<Frame> = fc.oneof(
  fc.record({ kind: fc.constant('open'), channel, payload: bytes(limits.maxOpenBytes) }),
  fc.record({ kind: fc.constant('message'), channel, payload: bytes(1000) }),
  fc.record({ kind: fc.constant('data'), channel, payload: bytes(limits.maxFrameBytes - frameHeaderBytes) }),
  fc.record({ kind: fc.constant('window'), channel, credit: fc.integer({ min: 0, max: 0xffff_ffff }) }),
  fc.record({ kind: fc.constant('end'), channel }),
  fc.record({ kind: fc.constant('reset'), channel, payload: bytes(500) }),
  fc.record({ kind: fc.constant('ping'), nonce }),
  fc.record({ kind: fc.constant('pong'), nonce }),
  fc.record({ kind: fc.constant('ack'), total: fc.maxSafeNat() }),
  fc.record({ kind: fc.constant('goaway'), payload: bytes(500) }),
) as fc.Arbitrary<Frame>;

/** A header with a payload of `payloadBytes`, every field free. */
function raw(kind: number, channelId: number, payloadBytes: number, flags = 0, reserved = 0): Uint8Array {
  const frame = new Uint8Array(frameHeaderBytes + payloadBytes);
  const view = new DataView(frame.buffer);
  view.setUint8(0, kind);
  view.setUint8(1, flags);
  view.setUint16(2, reserved);
  view.setUint32(4, channelId);
  return frame;
}

function refusal(frame: Uint8Array): { code: string; field: unknown; value: unknown } {
  try {
    decodeFrame(frame, limits);
  } catch (error) {
    if (!(error instanceof RemoteError)) throw error;
    return { code: error.code, field: error.details.facts?.field, value: error.details.facts?.value };
  }
  throw new Error('the frame was decoded');
}

describe('codec', () => {
  test('what is encoded is decoded to the same frame', () => {
    fc.assert(
      fc.property(frames, (frame) => {
        expect(decodeFrame(encodeFrame(frame), limits)).toEqual(frame);
      }),
    );
  });

  test('the bytes of a frame are where the specification has them', () => {
    const frame = encodeFrame({ kind: 'window', channel: 0x01020304, credit: 0x0a0b0c0d });
    expect([...frame]).toEqual([4, 0, 0, 0, 1, 2, 3, 4, 10, 11, 12, 13]);
    expect([...encodeFrame({ kind: 'ack', total: 258 })]).toEqual([
      9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2,
    ]);
  });

  test('any bytes give a frame or a RemoteError, and a payload is a view, never a copy [row 74]', () => {
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 64 }),
      fc
        .tuple(fc.integer({ min: 0, max: 12 }), fc.nat({ max: 2 }), fc.uint8Array({ maxLength: 32 }))
        .map(([kind, id, payload]) => {
          const frame = raw(kind, id, payload.byteLength);
          frame.set(payload, frameHeaderBytes);
          return frame;
        }),
    );
    fc.assert(
      fc.property(anything, (input) => {
        try {
          const frame = decodeFrame(input, limits);
          if ('payload' in frame) expect(frame.payload.buffer).toBe(input.buffer);
          expect(encodeFrame(frame)).toEqual(input);
        } catch (error) {
          if (!(error instanceof RemoteError)) throw error;
          expect(['protocol_error', 'frame_too_big']).toContain(error.code);
          expect(error.details.facts).toMatchObject({ field: expect.any(String) });
        }
      }),
      { numRuns: 1000 },
    );
  });

  test.each([
    ['an empty message', new Uint8Array(0), 'frame_bytes', 0],
    ['less than a header', new Uint8Array(7), 'frame_bytes', 7],
    ['kind 0', raw(0, 0, 0), 'kind', 0],
    ['a kind after the last', raw(frameRules.length, 1, 1), 'kind', frameRules.length],
    ['kind 255', raw(255, 1, 1), 'kind', 255],
    ['a flag', raw(frameKind.data, 1, 1, 1), 'flags', 1],
    ['reserved bits', raw(frameKind.data, 1, 1, 0, 0x8000), 'reserved', 0x8000],
    ['DATA on channel 0', raw(frameKind.data, 0, 1), 'channel', 0],
    ['PING on a channel', raw(frameKind.ping, 5, 8), 'channel', 5],
    ['DATA without payload', raw(frameKind.data, 1, 0), 'payload_bytes', 0],
    ['WINDOW of 3 bytes', raw(frameKind.window, 1, 3), 'payload_bytes', 3],
    ['ACK of 7 bytes', raw(frameKind.ack, 0, 7), 'payload_bytes', 7],
    ['GOAWAY without payload', raw(frameKind.goaway, 0, 0), 'payload_bytes', 0],
  ])('%s is refused by field and value', (_title, frame, field, value) => {
    expect(refusal(frame)).toEqual({ code: 'protocol_error', field, value });
  });

  test.each([
    ['a frame over the limit', raw(frameKind.data, 1, limits.maxFrameBytes), 'frame'],
    ['an OPEN over its own limit', raw(frameKind.open, 1, limits.maxOpenBytes + 1), 'open'],
    ['a RESET over its own limit', raw(frameKind.reset, 1, limits.maxErrorBytes + 1), 'reset'],
    ['a WINDOW of 5 bytes', raw(frameKind.window, 1, 5), 'window'],
    ['an END with payload', raw(frameKind.end, 1, 1), 'end'],
    ['a PING of 9 bytes', raw(frameKind.ping, 0, 9), 'ping'],
  ])('%s is too big', (_title, frame, field) => {
    expect(refusal(frame)).toMatchObject({ code: 'frame_too_big', field });
  });

  test('an ack total beyond 2^53 - 1 is refused [row 61]', () => {
    const frame = raw(frameKind.ack, 0, 8);
    frame.fill(0xff, frameHeaderBytes);
    expect(refusal(frame)).toMatchObject({ code: 'protocol_error', field: 'ack_total' });
  });

  test('the rules stand at the index of their kind', () => {
    for (const [name, kind] of Object.entries(frameKind)) expect(frameRules[kind]?.name).toBe(name);
    expect(frameRules.filter(Boolean)).toHaveLength(Object.keys(frameKind).length);
  });
});
