import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeFrame,
  defaultWireLimits,
  encodeMessage,
  type Frame,
  frameHeaderBytes,
  RemoteError,
} from '../src/wire/index.ts';
import { settle } from './support/fake-clock.ts';
import { smallLimits } from './support/limits.ts';
import { heldBytes } from './support/memory.ts';
import { RawPeer } from './support/raw-peer.ts';

const limits = defaultWireLimits;
const payload = (bytes: number): Uint8Array => new Uint8Array(bytes);
const error = encodeMessage({ code: 'cancelled', message: 'x', retryable: true });
const open = (channel: number): Frame => ({
  kind: 'open',
  channel,
  payload: encodeMessage({ verb: 'test', params: {} }),
});
const raw = (kind: number, channel: number, size: number): Uint8Array => {
  const frame = new Uint8Array(frameHeaderBytes + size);
  frame[0] = kind;
  frame[7] = channel;
  return frame;
};
const deep = (depth: number): Uint8Array => {
  const bytes = new Uint8Array(depth + 1).fill(0x91);
  bytes[depth] = 0xc0;
  return bytes;
};

/** What the peer sends after `open(1)`, with the field that the session names. */
const brokenRules: [title: string, frames: (Frame | Uint8Array)[], field: string][] = [
  ['a frame of nothing', [payload(0)], 'frame_bytes'],
  ['half a header', [payload(5)], 'frame_bytes'],
  ['kind 0', [raw(0, 0, 0)], 'kind'],
  ['kind 11', [raw(11, 1, 4)], 'kind'],
  ['DATA on the session', [raw(3, 0, 4)], 'channel'],
  [
    'DATA for a channel that was never opened',
    [{ kind: 'data', channel: 3, payload: payload(1) }],
    'channel',
  ],
  [
    'DATA for a channel of ours that was never opened',
    [{ kind: 'data', channel: 2, payload: payload(1) }],
    'channel',
  ],
  ['END for the highest id', [{ kind: 'end', channel: 0xffff_ffff }], 'channel'],
  ['RESET for a channel that was never opened', [{ kind: 'reset', channel: 9, payload: error }], 'channel'],
  ['WINDOW for a channel that was never opened', [{ kind: 'window', channel: 9, credit: 1 }], 'channel'],
  ['the same id opened twice', [open(1)], 'channel'],
  ['a lower id after a higher', [open(7), open(5)], 'channel'],
  ['an id of the other parity', [open(4)], 'channel'],
  ['credit of zero', [{ kind: 'window', channel: 1, credit: 0 }], 'credit'],
  ['credit of -1', [{ kind: 'window', channel: 1, credit: 0xffff_ffff }], 'credit'],
  [
    'credit over the largest window',
    [{ kind: 'window', channel: 1, credit: limits.maxWindowBytes - limits.initialWindowBytes + 1 }],
    'credit',
  ],
  [
    'credit that overflows in two steps',
    [
      { kind: 'window', channel: 1, credit: limits.maxWindowBytes - limits.initialWindowBytes },
      { kind: 'window', channel: 1, credit: 1 },
    ],
    'credit',
  ],
  [
    'DATA over its credit',
    Array.from({ length: 5 }, (): Frame => ({ kind: 'data', channel: 1, payload: payload(60_000) })),
    'payload_bytes',
  ],
  [
    'MESSAGE over its credit',
    Array.from(
      { length: 5 },
      (): Frame => ({ kind: 'message', channel: 1, payload: encodeMessage(payload(60_000)) }),
    ),
    'payload_bytes',
  ],
  [
    'DATA after END',
    [
      { kind: 'end', channel: 1 },
      { kind: 'data', channel: 1, payload: payload(1) },
    ],
    'channel',
  ],
  [
    'MESSAGE after END',
    [
      { kind: 'end', channel: 1 },
      { kind: 'message', channel: 1, payload: encodeMessage(1) },
    ],
    'channel',
  ],
  [
    'END twice',
    [
      { kind: 'end', channel: 1 },
      { kind: 'end', channel: 1 },
    ],
    'channel',
  ],
  ['an acknowledgement of what was never sent', [{ kind: 'ack', total: 1 }], 'ack_total'],
  ['an acknowledgement of 2^53 - 1', [{ kind: 'ack', total: Number.MAX_SAFE_INTEGER }], 'ack_total'],
  [
    'a message that claims 4 billion entries',
    [{ kind: 'message', channel: 1, payload: Uint8Array.of(0xdd, 255, 255, 255, 255) }],
    'message_count',
  ],
  [
    'a message of a million levels, cut at a frame',
    [{ kind: 'message', channel: 1, payload: deep(65_000) }],
    'message_depth',
  ],
  [
    'an extension type in a message',
    [{ kind: 'message', channel: 1, payload: Uint8Array.of(0xd4, 0, 0) }],
    'message_type',
  ],
  [
    'a RegExp of msgpackr in a message',
    [{ kind: 'message', channel: 1, payload: Uint8Array.of(0xc7, 4, 0x78, 0x92, 0xa1, 0x61, 0xa0) }],
    'message_type',
  ],
  [
    '__proto__ in a message',
    [{ kind: 'message', channel: 1, payload: Uint8Array.of(0x81, 0xa9, ...Buffer.from('__proto__'), 0x80) }],
    'message_key',
  ],
  [
    'a message with bytes behind it',
    [{ kind: 'message', channel: 1, payload: Uint8Array.of(1, 1) }],
    'message_bytes',
  ],
  [
    'a bad message for a forgotten channel',
    [
      { kind: 'reset', channel: 1, payload: error },
      { kind: 'message', channel: 1, payload: Uint8Array.of(0xc1) },
    ],
    'message_type',
  ],
  ['OPEN of a number', [{ kind: 'open', channel: 3, payload: Uint8Array.of(7) }], 'open'],
  ['OPEN without a verb', [{ kind: 'open', channel: 3, payload: encodeMessage({ params: 1 }) }], 'verb'],
  ['RESET with garbage', [{ kind: 'reset', channel: 1, payload: Uint8Array.of(0xc1, 1) }], 'message_type'],
  ['GOAWAY with garbage', [{ kind: 'goaway', payload: Uint8Array.of(0xdf, 1) }], 'message_length'],
];

describe('a peer that breaks a rule', () => {
  test.each(brokenRules)(
    '%s: the session ends with protocol_error [row 60] [row 61] [row 70] [row 71] [row 72] [row 73]',
    async (_title, frames, field) => {
      const peer = new RawPeer();
      const channel = await peer.open(1);
      await peer.send(...frames);
      expect(peer.goaway()).toMatchObject({ code: 'protocol_error', facts: { field } });
      expect((await peer.session.closed).code).toBe('protocol_error');
      expect(peer.sessionEnd.closedWith).toEqual({ code: 4400, reason: 'protocol_error' });
      await channel.closed;
      await expect(channel.write(payload(1))).rejects.toThrow(RemoteError);
      expect(peer.clock.pending).toBe(0);
    },
  );

  test.each([
    ['a frame over 64 KiB', raw(3, 1, 64 * 1024)],
    ['an OPEN over its limit', raw(1, 3, limits.maxOpenBytes + 1)],
    ['a GOAWAY over its limit', raw(10, 0, limits.maxErrorBytes + 1)],
  ])('%s: the session ends with frame_too_big [row 67]', async (_title, frame) => {
    const peer = new RawPeer();
    await peer.open(1);
    await peer.send(frame);
    expect(peer.goaway()?.code).toBe('frame_too_big');
    expect(peer.sessionEnd.closedWith).toMatchObject({ code: 1009 });
  });

  test('a frame for a channel of ours whose OPEN has not gone out yet is forged [row 66]', async () => {
    const controller = new RawPeer({ side: 'controller', accepts: false });
    controller.sessionEnd.bufferedBytes = () => limits.maxSocketBufferBytes;
    const channel = controller.session.open('secret', {});
    await controller.send({ kind: 'message', channel: channel.id, payload: encodeMessage('reply') });
    expect(controller.session.ended?.details.facts).toEqual({ field: 'channel', value: 1 });
    await expect(channel.receive()).rejects.toMatchObject({ code: 'protocol_error' });
  });

  test('nothing that comes after the end is looked at', async () => {
    const peer = new RawPeer();
    await peer.open(1);
    await peer.send(raw(0, 0, 0));
    await peer.send(open(3), { kind: 'data', channel: 1, payload: payload(5) }, { kind: 'ping', nonce: 1n });
    expect(peer.accepted).toHaveLength(1);
    expect(peer.of('pong')).toEqual([]);
    expect(peer.of('goaway')).toHaveLength(1);
  });
});

describe('a peer that is odd but within the rules', () => {
  test('late frames for a forgotten channel are drained, counted and acknowledged [row 66]', async () => {
    const peer = new RawPeer();
    const channel = await peer.open(1);
    channel.reset(new RemoteError('cancelled', 'enough'));
    await settle();
    expect(peer.resets()).toEqual([{ channel: 1, code: 'cancelled' }]);
    // More than the window held: what is forgotten has no window any more.
    for (let count = 0; count < 20; count++)
      await peer.send({ kind: 'data', channel: 1, payload: payload(32_768) });
    await peer.send(
      { kind: 'message', channel: 1, payload: encodeMessage(1) },
      { kind: 'window', channel: 1, credit: 5 },
      { kind: 'window', channel: 1, credit: 0xffff_ffff },
      { kind: 'end', channel: 1 },
      { kind: 'end', channel: 1 },
      { kind: 'reset', channel: 1, payload: error },
    );
    expect(peer.session.ended).toBe(undefined);
    expect(peer.of('ack').at(-1)?.total).toBe(20 * 32_768);
    expect(peer.of('window')).toEqual([]);
    await peer.send({ kind: 'ping', nonce: 7n });
    expect(peer.of('pong')).toEqual([{ kind: 'pong', nonce: 7n }]);
    expect(peer.of('ack').at(-1)?.total).toBe(20 * 32_768 + 1);
  });

  test('a peer that has ended its side is given no more credit', async () => {
    const peer = new RawPeer();
    const channel = await peer.open(1);
    for (let count = 0; count < 8; count++)
      await peer.send({ kind: 'data', channel: 1, payload: payload(32_768) });
    await peer.send({ kind: 'end', channel: 1 });
    let received = 0;
    for await (const item of channel) if (item.kind === 'data') received += item.bytes.byteLength;
    await settle();
    expect(received).toBe(8 * 32_768);
    expect(peer.of('window')).toEqual([]);
  });

  test('credit that waits for the socket when its channel ends is not sent', async () => {
    const peer = new RawPeer();
    const channel = await peer.open(1);
    for (let count = 0; count < 8; count++)
      await peer.send({ kind: 'data', channel: 1, payload: payload(32_768) });
    let buffered = limits.maxSocketBufferBytes;
    peer.sessionEnd.bufferedBytes = () => buffered;
    for (let count = 0; count < 8; count++) await channel.receive();
    await peer.send({ kind: 'reset', channel: 1, payload: error });
    buffered = 0;
    await peer.send({ kind: 'ping', nonce: 1n });
    expect(peer.of('pong')).toHaveLength(1);
    expect(peer.of('window')).toEqual([]);
  });

  test('a skipped id was never opened by its owner and is not remembered as open', async () => {
    const peer = new RawPeer();
    await peer.open(1);
    await peer.open(9);
    await peer.send({ kind: 'data', channel: 5, payload: payload(10) });
    expect(peer.session.ended).toBe(undefined);
    expect(peer.session.openChannels).toBe(2);
  });

  test('pings are answered, and a pong that nobody asked for changes nothing', async () => {
    const peer = new RawPeer();
    await peer.send({ kind: 'pong', nonce: 99n }, { kind: 'ping', nonce: 1n }, { kind: 'ping', nonce: 2n });
    expect(peer.of('pong').map((frame) => frame.nonce)).toEqual([1n, 2n]);
    expect(peer.session.ended).toBe(undefined);
    expect(peer.session.roundTripMs).toBe(undefined);
  });

  test('one channel too many is reset alone, and so is a request to a side that answers none [row 85]', async () => {
    const peer = new RawPeer({ limits: smallLimits });
    for (let id = 1; id <= 2 * smallLimits.maxChannels + 1; id += 2) await peer.send(open(id));
    expect(peer.resets()).toEqual([{ channel: 33, code: 'too_many_channels' }]);
    expect(peer.session.openChannels).toBe(smallLimits.maxChannels);
    const controller = new RawPeer({ side: 'controller', accepts: false });
    await controller.send(open(2));
    expect(controller.resets()).toEqual([{ channel: 2, code: 'unknown_verb' }]);
    expect(controller.session.ended).toBe(undefined);
  });

  test('a backlog of tiny messages resets that channel only', async () => {
    const peer = new RawPeer({ limits: smallLimits });
    const flooded = await peer.open(1);
    const other = await peer.open(3);
    for (let count = 0; count <= smallLimits.maxBacklogMessages; count++) {
      await peer.send({ kind: 'message', channel: 1, payload: encodeMessage(1) });
    }
    expect(peer.resets()).toEqual([{ channel: 1, code: 'too_large' }]);
    await expect(flooded.receive()).rejects.toMatchObject({ code: 'too_large' });
    await peer.send({ kind: 'message', channel: 3, payload: encodeMessage('still here') });
    expect(await other.receive()).toEqual({ kind: 'message', value: 'still here' });
  });

  test('tiny DATA that nobody reads costs what its bytes cost', async () => {
    const peer = new RawPeer();
    const channel = await peer.open(1);
    const count = 100_000;
    const before = await heldBytes();
    // Each frame is a view into a large buffer, as sockets give them.
    for (let at = 0; at < count; at++) {
      const chunk = Buffer.alloc(4096);
      chunk.set(raw(3, 1, 1));
      peer.end.peer?.receive(chunk.subarray(0, 9));
    }
    // Kept as they came, they would hold 400 MB.
    expect((await heldBytes()) - before).toBeLessThan(32 * 1024 * 1024);
    let received = 0;
    let items = 0;
    while (received < count) {
      const item = await channel.receive();
      if (item?.kind !== 'data') throw new Error('expected DATA');
      received += item.bytes.byteLength;
      items++;
    }
    expect(received).toBe(count);
    expect(items).toBeLessThan(50);
  });

  test('one that asks and never reads makes no queue grow: the session ends', async () => {
    const peer = new RawPeer({ limits: smallLimits, accepts: false });
    peer.sessionEnd.bufferedBytes = () => smallLimits.maxSocketBufferBytes;
    for (let at = 0; at < 1000; at++) await peer.send({ kind: 'ping', nonce: BigInt(at) });
    for (let id = 1; id < 4 * smallLimits.maxControlBacklog; id += 2) await peer.send(open(id));
    expect(peer.session.ended?.details.facts).toMatchObject({ field: 'control_backlog' });
    expect(peer.of('pong')).toEqual([]);
  });

  test('GOAWAY ends the session with the reason that the peer gives, also one of the future', async () => {
    const peer = new RawPeer();
    const channel = await peer.open(1);
    const reason = encodeMessage({ code: 'of_the_future', message: 'new', retryable: false });
    await peer.send({ kind: 'goaway', payload: reason });
    const cause = await peer.session.closed;
    expect(cause.code).toBe('internal');
    expect(cause.details.facts).toEqual({ peer_code: 'of_the_future', reported_by: 'peer' });
    await expect(channel.receive()).rejects.toBe(cause);
    expect(peer.of('goaway')).toEqual([]);
  });
});

describe('a peer that sends anything', () => {
  const anyFrame: fc.Arbitrary<Frame | Uint8Array> = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.record({
      kind: fc.constant('open'),
      channel: fc.nat(9),
      payload: fc.constant(encodeMessage({ verb: 'v' })),
    }),
    fc.record({ kind: fc.constant('data'), channel: fc.nat(9), payload: fc.uint8Array({ maxLength: 300 }) }),
    fc.record({ kind: fc.constant('message'), channel: fc.nat(9), payload: fc.uint8Array({ maxLength: 9 }) }),
    fc.record({
      kind: fc.constant('message'),
      channel: fc.nat(9),
      payload: fc.jsonValue().map((value) => encodeMessage([JSON.stringify(value)])),
    }),
    fc.record({ kind: fc.constant('window'), channel: fc.nat(9), credit: fc.nat(20_000) }),
    fc.record({ kind: fc.constant('end'), channel: fc.nat(9) }),
    fc.record({ kind: fc.constant('reset'), channel: fc.nat(9), payload: fc.constant(error) }),
    fc.record({ kind: fc.constant('ping'), nonce: fc.bigInt({ min: 0n, max: 9n }) }),
    fc.record({ kind: fc.constant('pong'), nonce: fc.bigInt({ min: 0n, max: 9n }) }),
    fc.record({ kind: fc.constant('ack'), total: fc.nat(3000) }),
  ) as fc.Arbitrary<Frame | Uint8Array>;

  test('gets legal frames only, and the session lives or ends with protocol_error or frame_too_big [row 74]', async () => {
    let lived = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(anyFrame, { maxLength: 40 }), async (frames) => {
        const peer = new RawPeer({ limits: smallLimits });
        for (const frame of frames) {
          await peer.send(frame);
          for (const { channel } of peer.accepted) {
            if (channel.id === 1) void channel.receive().catch(() => {});
            if (channel.id === 3 && channel.state === 'open') void channel.write(payload(100));
          }
        }
        const ended = peer.session.ended;
        if (!ended) lived++;
        else expect(['protocol_error', 'frame_too_big']).toContain(ended.code);
        peer.session.end();
        await Promise.all(peer.accepted.map(({ channel }) => channel.closed));
        expect(peer.clock.pending).toBe(0);
        expect(peer.session.openChannels).toBe(0);
      }),
      { numRuns: 400 },
    );
    expect(lived).toBeGreaterThan(10);
  });
});

describe('a connection that was fenced', () => {
  test('its late frames never reach the session that replaced it, though the channel ids are the same', async () => {
    const old = new RawPeer();
    const replaced = await old.open(1, 'read');
    const late: Uint8Array[] = [];
    const next = new RawPeer();
    const fresh = await next.open(1, 'read');
    old.session.end(new RemoteError('session_replaced', 'a newer connection of the same machine took over'));
    for (const bytes of [1, 2, 3]) {
      const frame = raw(3, 1, 4).fill(bytes, frameHeaderBytes);
      late.push(frame);
      await old.send(frame);
    }
    expect(late.map((frame) => decodeFrame(frame, limits).kind)).toEqual(['data', 'data', 'data']);
    await expect(replaced.receive()).rejects.toMatchObject({ code: 'session_replaced' });
    await next.send({ kind: 'data', channel: 1, payload: Uint8Array.of(9) });
    expect(await fresh.receive()).toEqual({ kind: 'data', bytes: Uint8Array.of(9) });
    expect(next.session.ended).toBe(undefined);
  });
});
