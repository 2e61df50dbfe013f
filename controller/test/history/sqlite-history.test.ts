import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@codex-remote/platform';
import type { ExecReport, ExecState } from '@codex-remote/protocol/schema';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SqliteHistory } from '../../src/history/sqlite-history.ts';

const base = {
  digest: 'd',
  mode: 'async' as const,
  command: 'true',
  accepted_at: '2026-01-01T00:00:00.000Z',
  stdout_bytes: 0,
  stderr_bytes: 0,
};
const running = (id: string, more: Partial<ExecState> = {}): ExecReport => ({
  state: { ...base, ...more, exec_id: id, status: 'running' } as ExecState,
});
const finished = (id: string, code: number, endedAt = '2026-01-01T00:01:00.000Z'): ExecReport => ({
  state: {
    ...base,
    exec_id: id,
    status: 'finished',
    reason: 'exited',
    exit_code: code,
    ended_at: endedAt,
    duration_ms: 1,
  },
  stdout_tail: { from: 7, bytes: new TextEncoder().encode('tail') },
});

describe('SqliteHistory', () => {
  let dir: string;
  let history: SqliteHistory;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'cr-history-'));
    history = new SqliteHistory(join(dir, 'h.sqlite'), systemClock);
  });
  afterEach(() => {
    history.close();
    rmSync(dir, { recursive: true });
  });

  test('what was recorded is there after a restart, tails included', async () => {
    await history.record('box', [finished('a', 7)]);
    history.close();
    history = new SqliteHistory(join(dir, 'h.sqlite'), systemClock);
    const entry = history.get('box', 'a');
    expect(entry?.report.state).toMatchObject({ status: 'finished', exit_code: 7 });
    expect(entry?.report.stdout_tail?.from).toBe(7);
    expect(Buffer.from(entry?.report.stdout_tail?.bytes ?? []).toString()).toBe('tail');
  });

  test('a write is seen by the very next read, before its promise resolves', () => {
    void history.record('box', [running('a')]);
    expect(history.get('box', 'a')?.report.state.status).toBe('running');
  });

  test('an end is final: a late report of the same exec running changes nothing', async () => {
    await history.record('box', [finished('a', 7)]);
    await history.record('box', [running('a')]);
    expect(history.get('box', 'a')?.report.state).toMatchObject({ status: 'finished', exit_code: 7 });
  });

  test('who has read no tails takes none away', async () => {
    const end = finished('a', 7);
    await history.record('box', [end]);
    await history.record('box', [{ state: { ...end.state, stdout_bytes: 12 } }]);
    const report = history.get('box', 'a')?.report;
    expect(report?.state.stdout_bytes).toBe(12);
    expect(report?.stdout_tail?.from).toBe(7);
  });

  test('an exact id is found though it is a prefix of another; a prefix finds all that begin with it', async () => {
    await history.record('box', [running('abc'), running('abcd'), running('b')]);
    await history.record('other', [running('abce')]);
    expect(history.find('abc', undefined, 5).map((entry) => entry.report.state.exec_id)).toEqual(['abc']);
    expect(history.find('ab', undefined, 5).map((entry) => entry.report.state.exec_id)).toEqual([
      'abc',
      'abcd',
      'abce',
    ]);
    expect(history.find('ab', ['other'], 5).map((entry) => entry.machine)).toEqual(['other']);
    expect(history.find('%', undefined, 5)).toEqual([]);
  });

  test('a list has what runs first, then what ended lately, newest first, and counts what it left out', async () => {
    await history.record('box', [
      finished('old', 0, '2025-01-01T00:00:00.000Z'),
      { state: { ...finished('new', 0).state, accepted_at: '2026-01-01T00:00:30.000Z' } as ExecState },
      finished('mid', 0),
      running('now'),
    ]);
    const filter = { limit: 2, ended_after_ms: Date.parse('2025-12-31T00:00:00Z') };
    const { entries, total } = history.list(filter);
    expect(entries.map((entry) => entry.report.state.exec_id)).toEqual(['now', 'new']);
    expect(total).toBe(3);
    expect(history.list({ ...filter, limit: 9, status: ['running'] }).entries).toHaveLength(1);
    expect(history.list({ ...filter, limit: 9, since_ms: 0 }).total).toBe(4);
  });
});
