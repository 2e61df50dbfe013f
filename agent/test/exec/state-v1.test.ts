import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ProcessTable } from '@codex-remote/platform';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { agentHome, readAgentConfig } from '../../src/home.ts';
import { ExecStore } from '../../src/store/store.ts';

const fixture = join(import.meta.dirname, '../../../test/fixtures/state-v1/agent');

describe('the home of an agent of 0.1.0', () => {
  let home: string;
  let store: ExecStore | undefined;
  beforeEach(() => {
    home = join(mkdtempSync(join(tmpdir(), 'v1-')), 'home');
    cpSync(fixture, home, { recursive: true });
    for (const id of readdirSync(join(home, 'execs'))) ownLogs(join(home, 'execs', id));
  });
  afterEach(() => {
    store?.close();
    rmSync(join(home, '..'), { recursive: true, force: true });
  });

  /** The journal names the inodes of the logs, and those of the copies are others. */
  function ownLogs(folder: string): void {
    const journal = join(folder, 'journal');
    const inode = (name: string) => statSync(join(folder, name)).ino;
    const inodes = JSON.stringify({ stdout: inode('stdout'), stderr: inode('stderr') });
    const text = readFileSync(journal, 'utf8');
    writeFileSync(journal, text.replace(/"log_inodes":\{[^}]*\}/, `"log_inodes":${inodes}`));
  }

  const open = (table = new ProcessTable()): ExecStore => {
    const { host_id } = readAgentConfig(agentHome(home));
    store = new ExecStore({
      home,
      hostId: host_id,
      table,
      user: { name: 'tester', home, shell: '/bin/sh' },
      spares: 0,
      diskReserveBytes: 0,
    });
    return store;
  };

  test('has a config that is read', () => {
    expect(readAgentConfig(agentHome(home))).toMatchObject({ version: 1, machine: 'local' });
  });

  test('has execs that are known as they ended', () => {
    const found = open();
    expect(found.get('v1-echo')).toMatchObject({
      status: 'finished',
      reason: 'exited',
      exit_code: 3,
      label: 'a label',
      command: 'echo out; echo err >&2; exit 3',
      stdout_bytes: 4,
      stderr_bytes: 4,
    });
    expect(found.get('v1-stdin')).toMatchObject({ status: 'finished', exit_code: 0 });
    expect(found.get('v1-cancelled')).toMatchObject({
      reason: 'cancelled',
      exit_code: 9,
      cancel_requested: true,
    });
    expect(found.get('v1-missing')).toMatchObject({ reason: 'failed_to_start', exit_code: 127 });
    const { stdout_tail } = found.report('v1-stdin', 1000);
    expect(Buffer.from(stdout_tail?.bytes ?? []).toString()).toBe('from stdin\n');
  });

  test('has one that ended while no agent was there, and its record counts', async () => {
    expect(await open().ended('v1-running')).toMatchObject({
      status: 'finished',
      reason: 'signaled',
      exit_code: 137,
      signal: 'SIGKILL',
    });
    expect(store?.unacknowledgedIds()).toEqual(['v1-running']);
  });

  test('has one without a record of its end after a reboot: lost, and nothing is signalled', () => {
    const record = join(home, 'execs/v1-running/exit');
    writeFileSync(record, Buffer.alloc(readFileSync(record).length));
    class Rebooted extends ProcessTable {
      override bootId(): string {
        return 'another boot';
      }
    }
    expect(open(new Rebooted()).get('v1-running')).toMatchObject({
      status: 'lost',
      reason: 'reboot',
      safe_to_retry: false,
    });
  });

  test('has ids that attach to the same request and conflict with another', async () => {
    const found = open();
    const spec = {
      exec_id: 'v1-echo',
      command: { kind: 'cmd' as const, cmd: 'echo out; echo err >&2; exit 3' },
      env: {},
      stdin: false,
      merge: false,
      mode: 'run' as const,
      cwd: '/tmp/v1',
    };
    await expect(
      found.start({ spec: { ...spec, command: { kind: 'cmd', cmd: 'true' } } }),
    ).rejects.toMatchObject({
      code: 'conflict',
    });
  });
});
