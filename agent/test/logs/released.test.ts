import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@codex-remote/platform';
import type { ExecEnded, ExecState, LogSelection } from '@codex-remote/protocol/schema';
import { streamId } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ExecFolder } from '../../src/folder/folder.ts';
import { parseReleased, Released } from '../../src/folder/released.ts';
import { readLogs } from '../../src/logs/read-logs.ts';
import { readTail } from '../../src/logs/tail.ts';
import { encodeSample } from '../../src/logs/time-samples.ts';
import { Collected } from '../support/collected.ts';
import { waitFor } from '../support/wait-for.ts';

let dir = '';
let folder: ExecFolder;
let end = Promise.withResolvers<ExecEnded>();
let state: ExecState;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'released-'));
  folder = new ExecFolder(dir, 'job');
  mkdirSync(folder.path);
  for (const name of ['stdout', 'stderr']) writeFileSync(folder.file(name), '');
  end = Promise.withResolvers();
  state = { status: 'running', exec_id: 'job' } as ExecState;
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function read(select: Partial<LogSelection>): { sink: Collected; done: Promise<void> } {
  const sink = new Collected();
  const done = readLogs({
    source: { folder, state: () => state, ended: end.promise },
    select: { streams: ['stdout'], follow: false, ...select },
    sink,
    clock: systemClock,
    gone: sink.gone.promise,
  });
  return { sink, done };
}

async function release(bytes: number): Promise<void> {
  folder.released.prepare();
  await folder.released.note('stdout', bytes);
}

describe('what was released', () => {
  it('is known to the next agent, each stream by itself, and only grows', async () => {
    await release(4096);
    await folder.released.note('stdout', 8192);
    await folder.released.note('stderr', 100);
    await folder.released.note('stdout', 4096);
    const next = new ExecFolder(dir, 'job').released;
    expect([next.of('stdout'), next.of('stderr')]).toEqual([8192, 100]);
  });

  it('is the number before where a write of the newest is torn anywhere', async () => {
    await release(4096);
    const before = readFileSync(folder.file('released'));
    await folder.released.note('stdout', 8192);
    const after = readFileSync(folder.file('released'));
    for (let cut = 0; cut <= after.byteLength; cut++) {
      const torn = Buffer.concat([after.subarray(0, cut), before.subarray(cut)]).toString('latin1');
      expect([4096, 8192]).toContain(parseReleased(torn).stdout);
    }
  });

  it('takes no more disk to note once it is prepared', async () => {
    folder.released.prepare();
    const size = readFileSync(folder.file('released')).byteLength;
    for (let i = 1; i < 10; i++) await folder.released.note(i % 2 ? 'stdout' : 'stderr', i * 4096);
    expect(readFileSync(folder.file('released')).byteLength).toBe(size);
    expect(new Released(folder.file('released')).of('stdout')).toBe(9 * 4096);
  });
});

describe('a log whose first 10 bytes are gone', () => {
  // Lines end at 4, 8, 14, 19; zeros stand where the hole is, as in a file.
  const text = 'one\ntwo\nthree\nfour\n';
  const hole = '\0'.repeat(10);
  beforeEach(async () => {
    await release(10);
    writeFileSync(folder.file('stdout'), hole + text.slice(10));
    for (const [offset, epochMs] of [
      [4, 1_000],
      [14, 2_000],
      [19, 3_000],
    ] as const)
      appendFileSync(folder.file('times'), encodeSample({ stream: streamId.stdout, offset, epochMs }));
  });

  it.each<[string, Partial<LogSelection>, [number, number] | undefined, string]>([
    ['all of it', {}, [0, 10], 'ree\nfour\n'],
    ['from the middle of the hole', { from: { stdout: 5 } }, [5, 5], 'ree\nfour\n'],
    ['from its end', { from: { stdout: 10 } }, undefined, 'ree\nfour\n'],
    ['the last line', { tail_lines: 1 }, undefined, 'four\n'],
    ['more lines than are left', { tail_lines: 2 }, [0, 10], 'ree\nfour\n'],
    ['no line', { tail_lines: 0 }, undefined, ''],
    ['the last bytes', { tail_bytes: 5 }, undefined, 'four\n'],
    ['more bytes than are left', { tail_bytes: 12 }, [7, 3], 'ree\nfour\n'],
    ['since a time before', { since_ms: 1_500 }, [4, 6], 'ree\nfour\n'],
    ['since a time after', { since_ms: 2_500 }, undefined, 'four\n'],
    ['until a time before', { until_ms: 1_500 }, [0, 4], ''],
    ['until a time after', { until_ms: 2_500 }, [0, 10], 'ree\n'],
    ['with a limit', { max_bytes: 4 }, [0, 10], 'ree\n'],
  ])('%s: the gap is a record, no zero is shown', async (_what, select, gap, expected) => {
    const { sink, done } = read(select);
    await done;
    expect(sink.text()).toBe(expected);
    const gaps = sink.records.flatMap((record) =>
      record.kind === 'gap' ? [[record.offset, record.missing]] : [],
    );
    expect(gaps).toEqual(gap ? [gap] : []);
    expect(sink.records[0]).toMatchObject({ kind: 'data', offset: gap?.[0] ?? 19 - expected.length });
  });

  it('has a tail that begins behind it', () => {
    expect(readTail(folder.file('stdout'), 100, folder.released.of('stdout'))?.from).toBe(10);
  });
});

it('a slow follower that the hole overtakes gets a gap for what it missed, then goes on', async () => {
  writeFileSync(folder.file('stdout'), Buffer.alloc(1_000_000, 'a'));
  const { sink, done } = read({ follow: true });
  const hold = Promise.withResolvers<void>();
  sink.gate = hold.promise;
  await waitFor('the first write', () => sink.writes > 0);
  await release(900_000);
  writeFileSync(folder.file('stdout'), Buffer.concat([Buffer.alloc(900_000), Buffer.alloc(100_000, 'a')]));
  sink.gate = undefined;
  hold.resolve();
  state = { status: 'lost', exec_id: 'job', reason: 'reboot' } as ExecState;
  end.resolve(state as ExecEnded);
  await done;
  let at = 0;
  for (const record of sink.records) {
    if (record.kind !== 'data' && record.kind !== 'gap') continue;
    expect(record.offset).toBe(at);
    at += record.kind === 'gap' ? record.missing : record.bytes.byteLength;
  }
  expect(at).toBe(1_000_000);
  expect(sink.records.filter((record) => record.kind === 'gap')).toHaveLength(1);
  expect(sink.bytes().includes(0)).toBe(false);
});

it('what is released while it is read is a gap, though it has been read', async () => {
  const text = 'what is left\n';
  writeFileSync(folder.file('stdout'), '\0'.repeat(1_000) + text);
  // Asked for the range, and before the read: after the read it is another number.
  vi.spyOn(folder.released, 'of').mockReturnValueOnce(0).mockReturnValueOnce(0).mockReturnValue(1_000);
  const { sink, done } = read({});
  await done;
  expect(sink.text()).toBe(text);
  expect(sink.records.filter((record) => record.kind === 'gap')).toEqual([
    { kind: 'gap', stream: streamId.stdout, offset: 0, missing: 1_000 },
  ]);
});
