import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecEnded } from '@codex-remote/protocol/schema';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Tombstones } from '../../src/exec/tombstones.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tombstones-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const end = (id: string): ExecEnded => ({
  status: 'finished',
  reason: 'exited',
  exit_code: 0,
  exec_id: id,
  digest: 'd',
  mode: 'run',
  command: 'true',
  accepted_at: '2026-01-01T00:00:00.000Z',
  ended_at: '2026-01-01T00:00:01.000Z',
  duration_ms: 1000,
  stdout_bytes: 0,
  stderr_bytes: 0,
});

it('remembers over a restart, the newest up to its limit, in a private file', () => {
  const path = join(dir, 'tombstones.db');
  const first = new Tombstones(path, 2);
  first.add([end('a'), end('b')], 5);
  first.add([end('c')], 6);
  first.close();
  const second = new Tombstones(path, 2);
  expect(second.get('a')).toBeUndefined();
  expect(second.get('b')).toEqual({ state: end('b'), removedMs: 5 });
  expect(second.get('c')).toEqual({ state: end('c'), removedMs: 6 });
  second.close();
  expect(statSync(path).mode & 0o777).toBe(0o600);
});
