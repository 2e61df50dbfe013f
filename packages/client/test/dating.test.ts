// biome-ignore-all lint/suspicious/noControlCharactersInRegex: they are what must be gone
import { expect, test } from 'vitest';
import { JsonLines, LogStream, type OutputRecord, safeJson } from '../src/index.ts';

const data = (text: string, offset: number, stream = 1): OutputRecord => ({
  kind: 'data',
  stream,
  offset,
  bytes: Buffer.from(text),
});
const time = (offset: number, epochMs: number, stream = 1): OutputRecord => ({
  kind: 'time',
  stream,
  offset,
  epochMs,
});
const now = () => '2030-01-01T00:00:00.000Z';

function linesOf(
  records: readonly OutputRecord[],
  partial = false,
): { lines: Record<string, unknown>[]; waiting: boolean } {
  const sink = new JsonLines();
  const stream = new LogStream(sink, now);
  for (const record of records) stream.push(record);
  const waiting = stream.holds;
  stream.end(partial);
  return {
    lines: sink
      .take()
      .trim()
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line)),
    waiting,
  };
}

test.each([
  ['after the bytes', [data('a\nb\n', 0), time(2, 1000), time(4, 2000)]],
  ['before the bytes', [time(2, 1000), data('a\n', 0), time(4, 2000), data('b\n', 2)]],
])('a line has the time by which it had been written, told %s', (_name, records) => {
  expect(linesOf(records).lines.map(({ ts }) => ts)).toEqual([
    '1970-01-01T00:00:01.000Z',
    '1970-01-01T00:00:02.000Z',
  ]);
});

test('bytes wait for their time, and get the latest known when none comes', () => {
  const { lines, waiting } = linesOf([time(2, 1000), data('a\nb\n', 0)]);
  expect(waiting).toBe(true);
  expect(lines.map(({ ts }) => ts)).toEqual(['1970-01-01T00:00:01.000Z', '1970-01-01T00:00:01.000Z']);
  expect(linesOf([data('a\n', 0)]).lines[0]?.ts).toBe(now());
});

test('records are as the contract has them', () => {
  const { lines } = linesOf([
    data('out\n', 0),
    time(4, 0),
    data('err', 0, 2),
    time(3, 0, 2),
    { kind: 'gap', stream: 1, offset: 4, missing: 10 },
    data('\xff'.slice(0, 0), 14),
  ]);
  expect(lines).toEqual([
    { type: 'log', stream: 'stdout', line: 'out', ts: '1970-01-01T00:00:00.000Z', offset: 0, next_offset: 4 },
    {
      type: 'gap',
      stream: 'stdout',
      missing: 10,
      ts: '1970-01-01T00:00:00.000Z',
      offset: 4,
      next_offset: 14,
    },
    { type: 'log', stream: 'stderr', line: 'err', ts: '1970-01-01T00:00:00.000Z', offset: 0, next_offset: 3 },
  ]);
});

test('bytes that are no UTF-8 are base64, and a gap ends the line before it', () => {
  const { lines } = linesOf([
    { kind: 'data', stream: 1, offset: 0, bytes: Buffer.from([0x61, 0xff]) },
    { kind: 'gap', stream: 1, offset: 2, missing: 3 },
    data('b\n', 5),
  ]);
  expect(lines.map(({ line, line_b64, missing }) => line ?? line_b64 ?? missing)).toEqual([
    Buffer.from([0x61, 0xff]).toString('base64'),
    3,
    'b',
  ]);
});

test('JSON that is safe for a terminal has the same value', () => {
  const value = { text: 'q"\\ \u0007\u001b]0;x\u007f\u009b31m\u202eabc\u2066 é 😀' };
  const text = safeJson(value);
  expect(JSON.parse(text)).toEqual(value);
  expect(text).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e\u2066]/);
});

test('JSONL keeps up with a fast link on lines of 100 bytes', () => {
  const line = `${'x'.repeat(50)} the quick brown fox jumps over the lazy dog, 5\n`;
  const block = Buffer.from(line.repeat(Math.floor(65_000 / line.length)));
  const rate = () => {
    const sink = new JsonLines();
    const stream = new LogStream(sink, now);
    const begin = performance.now();
    let offset = 0;
    for (let i = 0; i < 600; i++) {
      stream.push({ kind: 'data', stream: 1, offset, bytes: block });
      offset += block.byteLength;
      stream.push(time(offset, 1000));
      Buffer.from(sink.take(), 'latin1');
    }
    return offset / 1000 / (performance.now() - begin);
  };
  rate();
  // A free machine does over 150; a busy one is no defect, a quadratic renderer is.
  expect(Math.max(rate(), rate(), rate())).toBeGreaterThan(20);
});
