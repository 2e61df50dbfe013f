import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { systemClock } from '@codex-remote/platform';
import type { ExecReport } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SqliteHistory } from '../../src/history/sqlite-history.ts';

const report: ExecReport = {
  state: {
    exec_id: 'a',
    digest: 'd',
    mode: 'async',
    command: 'make all',
    label: 'kept',
    accepted_at: '2026-01-01T00:00:00.000Z',
    stdout_bytes: 4,
    stderr_bytes: 0,
    status: 'finished',
    reason: 'exited',
    exit_code: 117,
    ended_at: '2026-01-01T00:01:00.000Z',
    duration_ms: 1,
  },
  stdout_tail: { from: 0, bytes: new TextEncoder().encode('tail') },
};
const everything = { limit: 9, since_ms: 0, ended_after_ms: 0 };

let dir: string;
let path: string;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'cr-history-'));
  path = join(dir, 'h.sqlite');
  const history = new SqliteHistory(path, systemClock);
  await history.record('box', [report]);
  history.close();
});
afterEach(() => rmSync(dir, { recursive: true }));

/** What a controller would answer from the file as it is now. */
function read(): { state?: unknown; tail?: string; error?: RemoteError } {
  let history: SqliteHistory | undefined;
  try {
    history = new SqliteHistory(path, systemClock);
    const entry = history.get('box', 'a');
    const listed = history.list(everything).entries.map((one) => one.report.state);
    expect(listed).toEqual(entry ? [entry.report.state] : []);
    if (!entry) return {};
    return {
      state: entry.report.state,
      tail: Buffer.from(entry.report.stdout_tail?.bytes ?? []).toString(),
    };
  } catch (error) {
    if (!(error instanceof RemoteError)) throw error;
    return { error };
  } finally {
    history?.close();
  }
}

function expectTyped(error: RemoteError | undefined): void {
  expect(error?.code).toBe('state_unusable');
  expect(error?.message).toContain(path);
  expect(error?.details.hint).toContain(`move ${path}`);
}

describe('a history that is damaged', () => {
  test('with any byte of its content changed: the same answer, or state_unusable with the file and what to do [row 36]', () => {
    const bytes = readFileSync(path);
    const at = bytes.indexOf('make all');
    // Key, status and numbers stand in the row before its state.
    const from = bytes.lastIndexOf('abox', at);
    expect(from).toBeGreaterThan(0);
    const truth = read();
    expect(truth).toMatchObject({ state: report.state, tail: 'tail' });
    let refused = 0;
    for (let offset = from - 24; offset < bytes.length && offset < at + 600; offset++) {
      const changed = Buffer.from(bytes);
      changed[offset] = (changed[offset] ?? 0) ^ (1 << (offset % 7));
      writeFileSync(path, changed);
      const { error, ...answer } = read();
      if (!error) expect([offset, answer]).toEqual([offset, truth]);
      else {
        expectTyped(error);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(300);
  });

  test('cut at any page, empty or foreign: state_unusable, or empty where nothing was ever in it [row 35] [row 37]', () => {
    const bytes = readFileSync(path);
    for (let size = 512; size < bytes.length; size += 512) {
      writeFileSync(path, bytes);
      truncateSync(path, size);
      expectTyped(read().error);
    }
    writeFileSync(path, '{"name":"some-package"}\n'.repeat(50));
    expectTyped(read().error);
    writeFileSync(path, '');
    expect(read()).toEqual({});
  });
});

test('a history of a controller that wrote no sums is read on', async () => {
  const old = new DatabaseSync(path);
  old.exec('ALTER TABLE exec DROP COLUMN sum');
  old.close();
  const history = new SqliteHistory(path, systemClock);
  expect(history.get('box', 'a')?.report.state).toEqual(report.state);
  await history.record('box', [{ state: { ...report.state, exec_id: 'b' } }]);
  expect(history.list(everything).total).toBe(2);
  history.close();
});
