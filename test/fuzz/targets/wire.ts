import {
  decodeError,
  decodeFrame,
  decodeMessage,
  decodeOpen,
  defaultWireLimits,
  encodeError,
  encodeFrame,
  encodeMessage,
  encodeOpen,
  type Frame,
  RemoteError,
} from '@codex-remote/protocol/wire';
import { settle } from '../../../packages/protocol/test/support/fake-clock.ts';
import { smallLimits } from '../../../packages/protocol/test/support/limits.ts';
import { referenceAccepts } from '../../../packages/protocol/test/support/msgpack-reference.ts';
import { RawPeer } from '../../../packages/protocol/test/support/raw-peer.ts';
import { check, joined, refusedOr, sameBytes, type Target } from '../target.ts';

const limits = defaultWireLimits;
const failure = new RemoteError('conflict', 'conflict: x exists', { hint: 'h', facts: { n: 1, l: ['a'] } });
const messages = [
  { reports: [{ state: { exec_id: 'x', status: 'running', stdout_bytes: 5 } }] },
  { list: [1, -1, 2 ** 40, 1.5, null, true, 'é', new Uint8Array(40)], deep: [[[[{ a: {} }]]]] },
  { ack: ['a', 'b', 'c'] },
  ...[null, true, 0, -1, 2 ** 53 - 1, -(2 ** 53) + 1, 0.1, '', 'text', 'x'.repeat(300), [], {}, [[]], [{}]],
  ...[
    [1, 2, 3],
    { a: 1 },
    { a: { b: { c: [] } } },
    new Uint8Array(3),
    new Uint8Array(300),
    ['é', '\u{1f600}'],
  ],
  ...[
    Array.from({ length: 20 }, (_, i) => i),
    Object.fromEntries([...'abcdefghijklmnopqr'].map((k) => [k, 1])),
  ],
].map((value) => encodeMessage(value));
const frames: Frame[] = [
  { kind: 'open', channel: 1, payload: encodeOpen('exec.get', { exec_id: 'x', tail_bytes: 5 }, limits) },
  ...messages.map((payload): Frame => ({ kind: 'message', channel: 1, payload })),
  { kind: 'data', channel: 1, payload: new Uint8Array(100).fill(7) },
  { kind: 'window', channel: 1, credit: 1000 },
  { kind: 'end', channel: 1 },
  { kind: 'reset', channel: 3, payload: encodeError(failure, limits) },
  { kind: 'ping', nonce: 7n },
  { kind: 'pong', nonce: 7n },
  { kind: 'ack', total: 4096 },
  { kind: 'goaway', payload: encodeError(failure, limits) },
];

/** A frame is read, and written again gives the same bytes. */
export const frameTarget: Target = {
  name: 'frame',
  weight: 14,
  seeds: () => frames.map(encodeFrame),
  run(bytes) {
    const frame = refusedOr(() => decodeFrame(bytes, limits));
    if (frame === undefined) return false;
    check(sameBytes(encodeFrame(frame), bytes), 'the frame is written in other bytes');
    if (frame.kind === 'open') refusedOr(() => decodeOpen(frame.payload, limits));
    if (frame.kind === 'reset' || frame.kind === 'goaway')
      refusedOr(() => decodeError(frame.payload, limits));
    return true;
  },
};

/** What the pre-scan lets through is what an obvious reading of the format lets through, and is the same after a round. */
export const messageTarget: Target = {
  name: 'message',
  weight: 16,
  tokens: ['\u00a9__proto__', '\u00abconstructor', '\u00a9prototype', '\u0091', '\u0081', '\u00dd', '\u00df'],
  seeds: () => messages,
  run(bytes) {
    const value = refusedOr(() => decodeMessage(bytes));
    check((value !== undefined) === referenceAccepts(bytes, limits), 'the reference judges otherwise');
    if (value === undefined) return false;
    const again = encodeMessage(value);
    check(sameBytes(encodeMessage(decodeMessage(again)), again), 'the message is another after a round');
    return true;
  },
};

const lengthBytes = 2;

/** Frames, each behind its length, into a session that serves. It lives, or ends as a broken rule ends it. */
export const sessionTarget: Target = {
  name: 'session',
  weight: 4,
  seeds: () => [
    packed(frames),
    packed([...frames.slice(0, 1), ...frames.slice(4, 8)]),
    packed(frames.slice(8)),
  ],
  async run(bytes) {
    const peer = new RawPeer({ limits: smallLimits });
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at + lengthBytes <= bytes.byteLength; ) {
      const length = view.getUint16(at);
      at += lengthBytes;
      peer.end.peer?.receive(bytes.slice(at, at + length));
      at += length;
    }
    await settle();
    const ended = peer.session.ended;
    const code = ended?.code;
    const byRule = code === 'protocol_error' || code === 'frame_too_big';
    const byPeer = ended?.details.facts?.reported_by === 'peer';
    check(code === undefined || byRule || byPeer, `the session ended with ${code}`);
    peer.session.end();
    await Promise.all(peer.accepted.map(({ channel }) => channel.closed));
    check(peer.session.openChannels === 0 && peer.clock.pending === 0, 'something is left of the session');
    return code === undefined || byPeer;
  },
};

function packed(several: readonly Frame[]): Uint8Array {
  return joined(
    ...several.map(encodeFrame).flatMap((frame) => {
      const length = new Uint8Array(lengthBytes);
      new DataView(length.buffer).setUint16(0, frame.byteLength);
      return [length, frame];
    }),
  );
}
