import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@codex-remote/platform';
import type { ExecState, LogSelection } from '@codex-remote/protocol/schema';
import { streamId } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ExecFolder } from '../../src/folder/folder.ts';
import { readLogs } from '../../src/logs/read-logs.ts';
import { maxLineScanBytes, readTail } from '../../src/logs/tail.ts';
import { encodeSample, TimeSamples } from '../../src/logs/time-samples.ts';
import { Collected } from '../support/collected.ts';

const gigabyte = 1024 ** 3;

let dir = '';
let folder: ExecFolder;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'huge-'));
  folder = new ExecFolder(dir, 'job');
  mkdirSync(folder.path);
  for (const name of ['stdout', 'stderr']) writeFileSync(folder.file(name), '');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function read(select: Partial<LogSelection>): Promise<Collected> {
  const sink = new Collected();
  const state = { status: 'running', exec_id: 'job' } as ExecState;
  await readLogs({
    source: { folder, state: () => state, ended: new Promise(() => undefined) },
    select: { streams: ['stdout'], follow: false, ...select },
    sink,
    clock: systemClock,
    gone: sink.gone.promise,
  });
  return sink;
}

/** What the answer may read of all files: the limit of the search for a line's beginning, and some. */
const mostBytes = maxLineScanBytes + 8 * 1024 * 1024;

/** Counted by the kernel, since a clock tells more of the machine's load than of the work. */
async function readsLittle<T>(work: () => Promise<T>): Promise<T> {
  const bytesRead = (): number =>
    Number(/^rchar: (\d+)$/m.exec(readFileSync('/proc/self/io', 'latin1'))?.[1]);
  const before = bytesRead();
  const result = await work();
  expect(bytesRead() - before).toBeLessThan(mostBytes);
  return result;
}

describe('a log of 20 GB', () => {
  const size = 20 * gigabyte;
  const end = '\none\ntwo\nthree\n';
  const sample = (offset: number, epochMs: number) =>
    appendFileSync(folder.file('times'), encodeSample({ stream: streamId.stdout, offset, epochMs }));
  beforeEach(() => {
    truncateSync(folder.file('stdout'), size);
    appendFileSync(folder.file('stdout'), end);
    sample(size + 1, 1_000);
    sample(size + 5, 2_000);
    sample(size + end.length, 3_000);
  });

  it.each<[string, Partial<LogSelection>, number, string]>([
    ['its last lines', { tail_lines: 2 }, 5, 'two\nthree\n'],
    ['its last bytes', { tail_bytes: 6 }, 9, 'three\n'],
    ['from an offset on', { from: { stdout: size + 5 } }, 5, 'two\nthree\n'],
    ['since a time', { since_ms: 1_500 }, 1, 'one\ntwo\nthree\n'],
    ['within a window', { since_ms: 1_500, until_ms: 2_500 }, 1, 'one\n'],
  ])('answers %s without reading it [row 65]', async (_what, select, begin, expected) => {
    // A wrong place would bring gigabytes.
    const sink = await readsLittle(() => read({ ...select, max_bytes: 1_000 }));
    expect(sink.text()).toBe(expected);
    sink.expectWhole('stdout', size + begin);
  });

  it('shows its end in a report', () => {
    expect(readTail(folder.file('stdout'), 6)).toEqual({
      from: size + end.length - 6,
      bytes: new Uint8Array(Buffer.from('three\n')),
    });
  });
});

describe('a line of 20 GB', () => {
  beforeEach(() => truncateSync(folder.file('stdout'), 20 * gigabyte));

  it('is looked through for its beginning no further than the limit [row 63]', async () => {
    const sink = await readsLittle(() => read({ tail_lines: 1, max_bytes: 10 }));
    const begin = sink.data('stdout')[0]?.offset ?? 0;
    expect(20 * gigabyte - begin).toBeGreaterThanOrEqual(maxLineScanBytes);
    expect(20 * gigabyte - begin).toBeLessThan(maxLineScanBytes + 64 * 1024);
  });

  it('is dated from within, where a time falls into it', async () => {
    const middle = 10 * gigabyte;
    for (const [offset, epochMs] of [
      [middle, 1_000],
      [20 * gigabyte, 2_000],
    ] as const)
      appendFileSync(folder.file('times'), encodeSample({ stream: streamId.stdout, offset, epochMs }));
    const sink = await readsLittle(() => read({ since_ms: 1_500, max_bytes: 10 }));
    expect(sink.data('stdout')[0]?.offset).toBe(middle - maxLineScanBytes);
  });
});

describe('the samples of weeks', () => {
  const count = 600_000;
  beforeEach(() => {
    const samples = Buffer.alloc(count * 24);
    for (let i = 0; i < count; i++) {
      // stderr says something once in a while only.
      const stream = i % 1_000 === 999 ? streamId.stderr : streamId.stdout;
      samples.set(encodeSample({ stream, offset: (i + 1) * 100, epochMs: i * 1_000 }), i * 24);
    }
    writeFileSync(folder.file('times'), samples);
    truncateSync(folder.file('stdout'), count * 100);
  });

  it('are searched, not read: a place is found for every time', () => {
    for (const at of [0, 1, 998, 999, 1_000, 299_999, 300_000, count - 1]) {
      const samples = new TimeSamples(folder.path, streamId.stdout);
      const before = samples.seekBehind((sample) => sample.epochMs < at * 1_000);
      // Every thousandth is of the other stream.
      const index = at === 0 ? undefined : at % 1_000 === 0 ? at - 2 : at - 1;
      expect(before?.offset).toBe(index === undefined ? undefined : (index + 1) * 100);
      const next = at % 1_000 === 999 ? at + 1 : at;
      expect(samples.next()?.epochMs).toBe(next < count ? next * 1_000 : undefined);
      samples.close();
    }
  });

  it('are sent for what is read and no more', async () => {
    const sink = await readsLittle(() => read({ tail_bytes: 1_000 }));
    const times = sink.records.filter((record) => record.kind === 'time');
    expect(times.length).toBeGreaterThan(5);
    expect(times.length).toBeLessThan(12);
  });
});
