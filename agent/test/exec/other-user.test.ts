import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ProcessTable } from '@codex-remote/platform';
import type { ExecSpec } from '@codex-remote/protocol/schema';
import { needs, sized } from '@codex-remote/test/lab';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AgentProcess } from '../support/agent-process.ts';
import { waitFor } from '../support/wait-for.ts';

/** An agent of a user who is not root, with a uid that nobody else has. */
let home: string;
let uid: number;
let agent: AgentProcess | undefined;
const table = new ProcessTable();

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'other-'));
  uid = 2_000_000_000 + Math.floor(Math.random() * 100_000_000);
  chownSync(home, uid, uid);
});
afterEach(async () => {
  await agent?.kill();
  agent = undefined;
  await waitFor('the end of all processes of the user', () => {
    // Stopped first, so that nothing forks faster than it is killed.
    for (const signal of ['SIGSTOP', 'SIGSTOP', 'SIGKILL'] as const)
      for (const pid of own()) send(pid, signal);
    return own().length === 0;
  });
  rmSync(home, { recursive: true });
});

async function open(...limits: string[]): Promise<AgentProcess> {
  const user = ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
  agent = await new AgentProcess(home, undefined, [...limits, ...user]).ready();
  return agent;
}

/** Living processes of the user. */
function own(): number[] {
  return table
    .all()
    .map((stat) => stat.pid)
    .filter((pid) => statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid === uid);
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended meanwhile.
  }
}

function spec(id: string, cmd: string): ExecSpec {
  return { exec_id: id, command: { kind: 'cmd', cmd }, env: {}, stdin: false, merge: false, mode: 'run' };
}

function program(name: string, text: string): string {
  const path = join(home, name);
  writeFileSync(path, text);
  chmodSync(path, 0o755);
  return path;
}

const output = (id: string) => readFileSync(join(home, 'execs', id, 'stdout'), 'utf8');

/** All processes and threads that the user may have. */
const most = sized({ ci: 120, full: 1_500 });

/** The words of the process, none when it has gone. */
function words(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

/** Perl goes on where it may not fork; a shell gives up. It pauses, or an agent on few processors gets no turn for minutes. */
const perl = (forks: string) =>
  `#!/usr/bin/perl\nuse POSIX;\nwhile (1) { ${forks}; select undef, undef, undef, 0.02 }\n`;
const fork = perl('fork');
const forkAway = perl('fork; setsid');
const killed = { status: 'finished', reason: 'cancelled', exit_code: 137 };

describe('a fork bomb', () => {
  it.for([
    ['in the session of a job that goes on', fork, 'exec sleep 600', killed],
    ['of sessions of their own', forkAway, 'exec sleep 600', killed],
    ['whose job has ended', fork, 'exit 3', { status: 'finished', reason: 'exited', exit_code: 3 }],
  ] as const)(
    '%s: the agent answers, another exec runs, and a cancel ends it all [row 20]',
    { timeout: 180_000 },
    async ([_which, text, then, state], test) => {
      needs(test, 'root', 'prlimit');
      const remote = await open('prlimit', `--nproc=${most}`);
      const bomb = program('bomb', text);
      const bombs = () => own().filter((pid) => words(pid).includes(bomb));
      const go = join(home, 'go');
      await remote.start(spec('bomb', `until [ -e ${go} ]; do sleep 0.05; done; ${bomb} & ${then}`));
      await waitFor('the next shim at its gate', () => own().some((pid) => words(pid).includes('inner')));
      writeFileSync(go, '');
      await waitFor('no room for another process', () => bombs().length > most * 0.6, 60_000);

      // Its shim is there already and it forks nothing itself.
      expect(await remote.start(spec('other', 'echo here; exit 5'))).toMatchObject({ attached: false });
      expect(await remote.ended('other')).toMatchObject({ status: 'finished', exit_code: 5 });
      expect(output('other')).toBe('here\n');

      expect(await remote.cancel('bomb', 'KILL', 0)).toMatchObject({
        already_finished: then === 'exit 3',
        leftover_pids: [],
        state,
      });
      expect(bombs()).toEqual([]);
    },
  );
});

it('a cancel names what has become of another user, which it cannot end', async (test) => {
  needs(test, 'root');
  const remote = await open();
  // A program that runs as root whoever starts it, as sudo does.
  const asRoot = join(home, 'as-root');
  copyFileSync('/usr/bin/setpriv', asRoot);
  chmodSync(asRoot, 0o4755);
  await remote.start(spec('root', `${asRoot} --reuid=0 --clear-groups sleep 600 & echo $!; exec sleep 600`));
  const pid = await waitFor('its pid', () => Number(output('root')) || undefined);
  const stat = await waitFor('it to be root', () => words(pid)[0] === 'sleep' && table.stat(pid));
  try {
    expect(await remote.cancel('root', 'TERM', 200)).toMatchObject({
      already_finished: false,
      leftover_pids: [pid],
      state: { status: 'finished', reason: 'cancelled', exit_code: 143 },
    });
    expect(table.isAlive(stat)).toBe(true);
  } finally {
    process.kill(pid, 'SIGKILL');
  }
});
