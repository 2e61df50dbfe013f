import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@codex-remote/platform';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SqliteHistory } from '../../src/history/sqlite-history.ts';
import { LowdbRegistry } from '../../src/registry/lowdb-registry.ts';

const fixture = join(import.meta.dirname, '../../../test/fixtures/state-v1/controller');

describe('what a controller of 0.1.0 left', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'v1-'));
    cpSync(fixture, dir, { recursive: true });
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  test('has machines that are known, and can be written again', async () => {
    const path = join(dir, 'registry.json');
    const registry = await LowdbRegistry.open(path);
    expect(registry.list()).toEqual([
      expect.objectContaining({
        name: 'local',
        agent_version: '0.1.0',
        installation: expect.objectContaining({ connection: 'local', host_id: '2ffda167fec569d8' }),
      }),
    ]);
    const before = structuredClone(registry.get('local'));
    await registry.update('local', (machine) => {
      machine.last_seen_at = '2027-01-01T00:00:00.000Z';
    });
    expect((await LowdbRegistry.open(path)).get('local')).toEqual({
      ...before,
      last_seen_at: '2027-01-01T00:00:00.000Z',
    });
  });

  test('has a history that is read and written on', async () => {
    const history = new SqliteHistory(join(dir, 'history.sqlite'), systemClock);
    try {
      expect(history.get('local', 'v1-echo')?.report.state).toMatchObject({
        status: 'finished',
        exit_code: 3,
        label: 'a label',
      });
      const tail = history.get('local', 'v1-stdin')?.report.stdout_tail;
      expect(Buffer.from(tail?.bytes ?? []).toString()).toBe('from stdin\n');
      const { entries, total } = history.list({ limit: 10, ended_after_ms: 0 });
      expect(total).toBe(5);
      const [running] = entries.filter(({ report }) => report.state.status === 'running');
      expect(running?.report.state.exec_id).toBe('v1-running');
      if (running) await history.record('local', [running.report]);
    } finally {
      history.close();
    }
  });
});
