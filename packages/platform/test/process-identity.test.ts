import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hostId } from '../src/host-id.ts';
import { ProcessTable, parseStat } from '../src/process-identity.ts';

const table = new ProcessTable();

describe('parseStat', () => {
  it.each([
    ['a space and parentheses', 'a) R 1 (b'],
    ['nothing', ''],
    ['a newline', 'x\ny'],
  ])('reads past a name with %s', (_what, comm) => {
    const rest = `S 7 8 9 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 99 0\n`;
    expect(parseStat(`12 (${comm}) ${rest}`)).toEqual({
      pid: 12,
      state: 'S',
      parent: 7,
      group: 8,
      session: 9,
      start: 4242,
    });
  });

  it.each(['', '12', '12 (sh', '12 (sh) S', 'x (sh) S 1 2 3'])('gives undefined for %j', (line) => {
    expect(parseStat(line)).toBeUndefined();
  });
});

describe('ProcessTable on this machine', () => {
  it('finds a process by identity, session and environment mark, and no more after its end', async () => {
    const mark = `mark-${process.pid}`;
    const child = spawn('sleep', ['60'], {
      detached: true,
      stdio: 'ignore',
      env: { ...process.env, CR_TEST_MARK: mark },
    });
    await once(child, 'spawn');
    const pid = child.pid ?? 0;
    const stat = table.stat(pid);
    const identity = { pid, start: stat?.start ?? 0 };
    try {
      expect(table.isAlive(identity)).toBe(true);
      expect(table.isAlive({ pid, start: identity.start + 1 })).toBe(false);
      expect(table.sessionMembers(pid).map((found) => found.pid)).toEqual([pid]);
      expect(table.groupMembers(pid).map((found) => found.pid)).toEqual([pid]);
      expect(table.marked('CR_TEST_MARK', mark).map((found) => found.pid)).toEqual([pid]);
      expect(table.marked('CR_TEST_MARK', mark.slice(0, -1))).toEqual([]);
    } finally {
      child.kill('SIGKILL');
    }
    await once(child, 'exit');
    expect(table.isAlive(identity)).toBe(false);
  });

  it('takes a zombie for dead [row 16]', async () => {
    // The inner sh ends at once; exec makes its parent a sleep, which reaps nobody.
    const child = spawn('sh', ['-c', 'sh -c "echo \\$\\$" & exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [said] = (await once(child.stdout, 'data')) as [Buffer];
    const pid = Number(said.toString());
    try {
      await expect.poll(() => table.stat(pid)?.state).toBe('Z');
      expect(table.isAlive({ pid, start: table.stat(pid)?.start ?? 0 })).toBe(false);
      expect(() => process.kill(pid, 0)).not.toThrow();
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });

  it('tells boot id and uptime', () => {
    expect(table.bootId()).toMatch(/^[0-9a-f-]{36}$/);
    expect(table.uptimeMs()).toBeGreaterThan(0);
  });
});

describe('ProcessTable on another root', () => {
  it('reads it instead of /proc', () => {
    const root = mkdtempSync(join(tmpdir(), 'proc-'));
    try {
      mkdirSync(join(root, '41'));
      mkdirSync(join(root, 'self'));
      writeFileSync(join(root, '41/stat'), '41 (x) S 1 41 41 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 77 0\n');
      writeFileSync(join(root, '41/environ'), 'A=1\0M=v\0');
      const fake = new ProcessTable(root);
      expect(fake.marked('M', 'v').map((stat) => [stat.pid, stat.start])).toEqual([[41, 77]]);
      expect([fake.bootId(), fake.uptimeMs()]).toEqual(['', 0]);
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});

it('host id is 16 hex digits that differ by machine id and by name', () => {
  const one = hostId({ machineId: 'm\n', hostname: 'a' });
  expect(one).toMatch(/^[0-9a-f]{16}$/);
  expect(
    new Set([one, hostId({ machineId: 'm', hostname: 'b' }), hostId({ machineId: 'n', hostname: 'a' })]).size,
  ).toBe(3);
  expect(hostId()).toBe(hostId());
});
