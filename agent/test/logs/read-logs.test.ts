import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@codex-remote/platform';
import type { ExecEnded, LogSelection } from '@codex-remote/protocol/schema';
import { type Clock, streamId } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ExecFolder } from '../../src/folder/folder.ts';
import { readLogs } from '../../src/logs/read-logs.ts';
import { encodeSample } from '../../src/logs/time-samples.ts';
import { Collected } from '../support/collected.ts';
import { waitFor } from '../support/wait-for.ts';

let dir = '';
let folder: ExecFolder;
let end = Promise.withResolvers<ExecEnded>();
let ended: ExecEnded | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'logs-'));
  folder = new ExecFolder(dir, 'job');
  mkdirSync(folder.path);
  for (const name of ['stdout', 'stderr']) writeFileSync(folder.file(name), '');
  end = Promise.withResolvers();
  ended = undefined;
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const verdict = { status: 'lost', exec_id: 'job', reason: 'reboot' } as ExecEnded;

function finish(): void {
  ended = verdict;
  end.resolve(verdict);
}

function read(
  select: Partial<LogSelection>,
  sink = new Collected(),
  clock: Clock = systemClock,
): { sink: Collected; done: Promise<void> } {
  const done = readLogs({
    source: {
      folder,
      state: () => ended ?? ({ status: 'running', exec_id: 'job' } as never),
      ended: end.promise,
    },
    select: { streams: ['stdout'], follow: false, ...select },
    sink,
    clock,
    gone: sink.gone.promise,
  });
  return { sink, done };
}

async function readAll(select: Partial<LogSelection> = {}): Promise<Collected> {
  const { sink, done } = read(select);
  await done;
  return sink;
}

describe('which bytes', () => {
  const text = 'one\ntwo\nthree\nfour';
  beforeEach(() => writeFileSync(folder.file('stdout'), text));

  it.each<[string, Partial<LogSelection>, string]>([
    ['all', {}, text],
    ['from an offset', { from: { stdout: 5 } }, text.slice(5)],
    ['from beyond the end', { from: { stdout: 500 } }, ''],
    ['the last line, though unfinished', { tail_lines: 1 }, 'four'],
    ['the last 3 lines', { tail_lines: 3 }, 'two\nthree\nfour'],
    ['more lines than there are', { tail_lines: 100 }, text],
    ['no line', { tail_lines: 0 }, ''],
    ['the last bytes', { tail_bytes: 6 }, 'e\nfour'],
    ['more bytes than there are', { tail_bytes: 600 }, text],
    ['not more than asked', { max_bytes: 7 }, 'one\ntwo'],
    ['another stream', { streams: ['stderr'] }, ''],
  ])('%s', async (_what, select, expected) => {
    const sink = await readAll(select);
    expect(sink.text()).toBe(expected);
    expect(sink.records.at(-1)).toEqual({ kind: 'event', value: { ended: null } });
  });

  it('counts a finished last line once', async () => {
    appendFileSync(folder.file('stdout'), '\n');
    expect((await readAll({ tail_lines: 2 })).text()).toBe('three\nfour\n');
    expect((await readAll({ tail_lines: 1 })).text()).toBe('four\n');
  });

  it('ends with the verdict of an ended exec, and with null where a limit cut', async () => {
    finish();
    expect((await readAll()).records.at(-1)).toEqual({ kind: 'event', value: { ended: verdict } });
    expect((await readAll({ max_bytes: 4 })).records.at(-1)).toEqual({
      kind: 'event',
      value: { ended: null },
    });
  });

  it('is what was there when the reading began, unless it follows', async () => {
    const sink = new Collected();
    const gate = Promise.withResolvers<void>();
    sink.gate = gate.promise;
    const { done } = read({ tail_lines: 1 }, sink);
    await waitFor('the first write', () => sink.writes > 0);
    appendFileSync(folder.file('stdout'), '\nfive\nsix\n');
    finish();
    gate.resolve();
    await done;
    expect(sink.text()).toBe('four');
    expect(sink.records.at(-1)).toEqual({ kind: 'event', value: { ended: null } });
  });

  it('tells first where each stream begins', async () => {
    const sink = await readAll({ streams: ['stderr', 'stdout'], tail_bytes: 4 });
    const begins = sink.records
      .slice(0, 2)
      .map((record) => record.kind === 'data' && [record.stream, record.offset, record.bytes.byteLength]);
    expect(begins).toEqual([
      [streamId.stderr, 0, 0],
      [streamId.stdout, text.length - 4, 0],
    ]);
  });

  it('takes turns between streams and keeps each whole', async () => {
    const big = Buffer.alloc(3_000_000, 'x');
    writeFileSync(folder.file('stdout'), big);
    writeFileSync(folder.file('stderr'), big);
    const sink = await readAll({ streams: ['stdout', 'stderr'] });
    sink.expectWhole('stdout', 0);
    sink.expectWhole('stderr', 0);
    const order = sink.records.flatMap((record) => (record.kind === 'data' ? [record.stream] : []));
    expect(order.slice(2).indexOf(streamId.stderr)).toBeLessThan(8);
    expect([sink.bytes('stdout').byteLength, sink.bytes('stderr').byteLength]).toEqual([
      3_000_000, 3_000_000,
    ]);
  });

  it('is exact for random bytes, read from any offset [row 64]', async () => {
    const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * 7919) % 256));
    writeFileSync(folder.file('stdout'), bytes);
    const sha = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');
    for (const from of [0, 1, 65_511, 65_512, 65_513, 199_999]) {
      const sink = await readAll({ from: { stdout: from } });
      sink.expectWhole('stdout', from);
      expect(sha(sink.bytes())).toBe(sha(bytes.subarray(from)));
    }
  });
});

describe('times', () => {
  const sample = (offset: number, epochMs: number) =>
    appendFileSync(folder.file('times'), encodeSample({ stream: streamId.stdout, offset, epochMs }));
  // Ends of lines: 4, 8, 14, 19.
  beforeEach(() => {
    writeFileSync(folder.file('stdout'), 'one\ntwo\nthree\nfour\n');
    sample(4, 1_000);
    appendFileSync(
      folder.file('times'),
      encodeSample({ stream: streamId.stderr, offset: 2, epochMs: 1_500 }),
    );
    sample(10, 2_000);
    sample(19, 3_000);
  });

  const times = (sink: Collected) =>
    sink.records.flatMap((record) => (record.kind === 'time' ? [[record.offset, record.epochMs]] : []));

  it('come with the bytes they date, in order, each before the bytes that end after it', async () => {
    expect(times(await readAll())).toEqual([
      [4, 1_000],
      [10, 2_000],
      [19, 3_000],
    ]);
  });

  it('of what no sample reaches is the last write', async () => {
    appendFileSync(folder.file('stdout'), 'five\n');
    const [offset, epochMs] = times(await readAll()).at(-1) ?? [];
    expect(offset).toBe(24);
    expect(Math.abs(Number(epochMs) - Date.now())).toBeLessThan(60_000);
  });

  it.each<[string, Partial<LogSelection>, string]>([
    ['since the first', { since_ms: 1_000 }, 'one\ntwo\nthree\nfour\n'],
    ['since after the first', { since_ms: 1_001 }, 'two\nthree\nfour\n'],
    // `three` was half written at 2,000 and is dated by 3,000.
    ['since the second, whole lines', { since_ms: 2_001 }, 'three\nfour\n'],
    ['since later than all', { since_ms: Date.now() + 1e6 }, ''],
    ['until the second', { until_ms: 2_000 }, 'one\n'],
    ['until after the second', { until_ms: 2_001 }, 'one\ntwo\n'],
    ['until later than all', { until_ms: Date.now() + 1e6 }, 'one\ntwo\nthree\nfour\n'],
    ['a window', { since_ms: 1_001, until_ms: 2_500 }, 'two\n'],
    ['a tail within a window', { until_ms: 2_500, tail_lines: 1 }, 'two\n'],
  ])('%s', async (_what, select, expected) => {
    expect((await readAll(select)).text()).toBe(expected);
  });
});

describe('following', () => {
  it('sends what is written until the exec has ended, and then the verdict', async () => {
    const { sink, done } = read({ follow: true, streams: ['stdout', 'stderr'] });
    let expected = '';
    for (let i = 0; i < 50; i++) {
      appendFileSync(folder.file('stdout'), `line ${i}\n`);
      expected += `line ${i}\n`;
      if (i % 10 === 0) await waitFor('the lines', () => sink.text() === expected);
    }
    appendFileSync(folder.file('stderr'), 'last');
    finish();
    await done;
    expect([sink.text(), sink.text('stderr')]).toEqual([expected, 'last']);
    sink.expectWhole('stdout', 0);
    expect(sink.records.at(-1)).toEqual({ kind: 'event', value: { ended: verdict } });
  });

  it('is told by the file system, and waits for no poll', async () => {
    const never = { ...systemClock, setTimer: () => ({ cancel: () => {} }) };
    const { sink, done } = read({ follow: true }, new Collected(), never);
    appendFileSync(folder.file('stdout'), 'first\n');
    await waitFor('the first line', () => sink.text() === 'first\n');
    appendFileSync(folder.file('stdout'), 'second\n');
    await waitFor('the second line', () => sink.text() === 'first\nsecond\n');
    finish();
    await done;
  });

  it('stops when nobody reads any more', async () => {
    const { sink, done } = read({ follow: true });
    sink.gone.resolve();
    await done;
    expect(sink.records.filter((record) => record.kind === 'event')).toEqual([]);
  });

  it('reads no more than a slow reader takes [row 57]', async () => {
    writeFileSync(folder.file('stdout'), Buffer.alloc(10_000_000));
    const sink = new Collected();
    const hold = Promise.withResolvers<void>();
    sink.gate = hold.promise;
    const { done } = read({ follow: true }, sink);
    await waitFor('the first write', () => sink.writes > 0);
    await new Promise((resolve) => setImmediate(resolve));
    expect(sink.writes).toBe(1);
    sink.gate = undefined;
    hold.resolve();
    finish();
    await done;
    expect(sink.bytes().byteLength).toBe(10_000_000);
  });

  it('reads on what was removed or renamed under it [row 40]', async () => {
    const { sink, done } = read({ follow: true });
    renameSync(folder.file('stdout'), join(dir, 'moved'));
    appendFileSync(join(dir, 'moved'), 'still\n');
    await waitFor('the line', () => sink.text() === 'still\n');
    unlinkSync(join(dir, 'moved'));
    finish();
    await done;
    expect(sink.text()).toBe('still\n');
  });

  it('says that the log was cut, and never begins again at 0 [row 41]', async () => {
    writeFileSync(folder.file('stdout'), '0123456789');
    const { sink, done } = read({ follow: true });
    await waitFor('the first bytes', () => sink.text() === '0123456789');
    truncateSync(folder.file('stdout'), 0);
    appendFileSync(folder.file('stdout'), 'abc');
    await waitFor('the gap', () => sink.records.some((record) => record.kind === 'gap'));
    appendFileSync(folder.file('stdout'), 'defghijKLM');
    await waitFor('the rest', () => sink.text() === '0123456789KLM');
    finish();
    await done;
    sink.expectWhole('stdout', 0);
  });
});

describe('what is not the log', () => {
  it.each<[string, () => void]>([
    ['a symlink', () => symlinkSync('/etc/hostname', folder.file('stdout'))],
    ['a FIFO', () => execFileSync('mkfifo', [folder.file('stdout')])],
    ['a directory', () => mkdirSync(folder.file('stdout'))],
  ])('%s is refused', async (_what, make) => {
    unlinkSync(folder.file('stdout'));
    make();
    await expect(readAll()).rejects.toMatchObject({ code: 'log_type' });
  });

  it('another file of the same name is refused [row 42]', async () => {
    folder.note({
      identity: {
        shim: { pid: 1, start: 1 },
        started_ms: 0,
        started_uptime_ms: 0,
        log_inodes: { stdout: 1, stderr: 1 },
      },
    });
    await expect(readAll()).rejects.toMatchObject({ code: 'log_type' });
  });

  it('a removed log is log_gone [row 40]', async () => {
    unlinkSync(folder.file('stdout'));
    await expect(readAll({ streams: ['stderr', 'stdout'] })).rejects.toMatchObject({ code: 'log_gone' });
  });
});
