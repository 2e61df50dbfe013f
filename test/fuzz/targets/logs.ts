import { JsonLines, LogStream } from '@codex-remote/client';
import { type ExecRecord, encodeRecord, RecordParser, streamId } from '@codex-remote/protocol/wire';
import { decodeCursor, encodeCursor } from '../../../packages/cli/src/commands/exec/cursor.ts';
import { Dating } from '../../../packages/client/src/dating.ts';
import { bytesOf, check, joined, refusedOr, sameBytes, type Target, textOf } from '../target.ts';

const { stdout, stderr } = streamId;
const records: ExecRecord[] = [
  { kind: 'data', stream: stdout, offset: 0, bytes: bytesOf('one\ntwo\nthr') },
  { kind: 'time', stream: stdout, offset: 8, epochMs: 1_700_000_000_000 },
  { kind: 'data', stream: stderr, offset: 0, bytes: bytesOf('\u001b[31mred\r\n\u00e9') },
  { kind: 'gap', stream: stdout, offset: 11, missing: 4096 },
  { kind: 'data', stream: stdout, offset: 4107, bytes: new Uint8Array([255, 0, 10, 195]) },
  { kind: 'event', value: { ended: null } },
];

/** An agent's log: whole records in any pieces, the same bytes again, and lines of JSON whatever is in it. */
export const recordsTarget: Target = {
  name: 'records',
  weight: 12,
  tokens: ['\u0001\u0001\u0000\u0000', '\u0002\u0001\u0000\u0000', '{"ended":', '\n', '\u00ff'],
  seeds: () => [joined(...records.map(encodeRecord)), ...records.map(encodeRecord)],
  run(bytes) {
    const parser = new RecordParser();
    const half = bytes.byteLength >> 1;
    const read: ExecRecord[] = [];
    const whole = refusedOr(() => {
      for (const part of [bytes.subarray(0, half), bytes.subarray(half)])
        for (const record of parser.push(part))
          read.push(record.kind === 'data' ? { ...record, bytes: record.bytes.slice() } : record);
      return parser.atBoundary;
    });
    const plain = read.filter((record) => record.kind !== 'event');
    const lines = new JsonLines();
    const stream = new LogStream(lines, () => '2026-01-01T00:00:00.000Z');
    for (const record of plain) stream.push(record);
    stream.end(false);
    for (const line of lines.take().split('\n')) if (line !== '') JSON.parse(line);
    if (whole !== true) return false;
    // JSON has more than one spelling; what has one comes back as it was.
    if (plain.length === read.length)
      check(sameBytes(joined(...read.map(encodeRecord)), bytes), 'the records are written in other bytes');
    return true;
  },
};

/** Times of any record are shown or passed over. */
export const datingTarget: Target = {
  name: 'dating',
  weight: 2,
  seeds: () => [new Uint8Array(24), new Uint8Array(48).fill(1)],
  run(bytes) {
    const dating = new Dating();
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at + 16 <= bytes.byteLength; at += 16) {
      const epochMs = Number(view.getBigUint64(at) >> 11n);
      const offset = Number(view.getBigUint64(at + 8) >> 11n);
      for (const _ of dating.push({ kind: 'time', stream: stdout, offset, epochMs }));
      check(typeof dating.at(offset, () => 'now') === 'string', 'a time is no text');
    }
    return true;
  },
};

/** A cursor is what encodes to itself. */
export const cursorTarget: Target = {
  name: 'cursor',
  weight: 4,
  tokens: ['v1.', '..', '-1', '1e5', '\u0000', '999999999999999', '9007199254740993'],
  seeds: () => [
    bytesOf(encodeCursor({ stdout: 0, stderr: 0 }, 'x')),
    bytesOf(encodeCursor({ stdout: 12, stderr: 2 ** 40 }, 'x')),
  ],
  run(bytes) {
    const text = textOf(bytes);
    const place = refusedOr(() => decodeCursor(text, 'x'));
    if (place === undefined) return false;
    check(Number.isSafeInteger(place.stdout) && Number.isSafeInteger(place.stderr), 'an offset is not exact');
    return true;
  },
};
