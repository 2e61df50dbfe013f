import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { takeLock } from '../src/lock.ts';

let dir = '';
let path = '';
const children: ChildProcess[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'lock-'));
  path = join(dir, 'agent.lock');
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});

async function holder(): Promise<ChildProcess> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'fixtures/hold-lock.ts'), path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  await once(child.stdout ?? child, 'data');
  return child;
}

it('refuses a second taker with already_running, and frees at once after kill -9 [row 26]', async () => {
  const child = await holder();
  expect(() => takeLock(path)).toThrow(expect.objectContaining({ code: 'already_running' }));
  child.kill('SIGKILL');
  await once(child, 'exit');
  takeLock(path).release();
});

it('is free again after release, which may be called twice; the file is 0600', () => {
  const lock = takeLock(path);
  expect(() => takeLock(path)).toThrow(expect.objectContaining({ code: 'already_running' }));
  lock.release();
  lock.release();
  takeLock(path).release();
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

it('says state_unusable for a file that is no database', () => {
  writeFileSync(path, 'x'.repeat(4096));
  expect(() => takeLock(path)).toThrow(expect.objectContaining({ code: 'state_unusable' }));
});
