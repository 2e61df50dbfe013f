import { existsSync, mkdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { finished, StoreLab } from '../support/store-lab.ts';
import { waitFor } from '../support/wait-for.ts';

let lab: StoreLab;
beforeEach(() => {
  lab = new StoreLab();
});
afterEach(() => lab.close());

/** Starts `cmd` and waits until it has said `ready`. */
async function ready(cmd: string, spec = {}): Promise<string> {
  const { state } = await lab.start(cmd, spec);
  await waitFor('ready', () => lab.read(state.exec_id).startsWith('ready\n'));
  return state.exec_id;
}

const pids = (id: string) => lab.read(id).trim().split('\n').slice(1).map(Number);

describe('cancel', () => {
  it.each([
    ['TERM', 143],
    ['INT', 130],
    ['KILL', 137],
  ] as const)('with %s ends a job and everything in its group', async (signal, code) => {
    const id = await ready('sleep 60 & printf "ready\\n%s\\n" $!; exec sleep 60');
    // What sh started with & ignores INT: the grace is waited for.
    const { state, already_finished, leftover_pids } = await lab.store.cancel(id, signal, 500);
    expect([already_finished, leftover_pids]).toEqual([false, []]);
    expect(state).toMatchObject({
      status: 'finished',
      reason: 'cancelled',
      exit_code: code,
      cancel_requested: true,
    });
    for (const pid of pids(id)) expect(lab.table.stat(pid)?.state ?? 'Z').toBe('Z');
  });

  it('right after the start it ends the job too, by the signal that was asked for', async () => {
    for (let attempt = 0; attempt < 25; attempt++) {
      const { state } = await lab.start('exec sleep 60');
      // Another moment of the shim's way from its gate to the job each time.
      for (const until = performance.now() + attempt / 8; performance.now() < until; );
      expect(await lab.store.cancel(state.exec_id, 'TERM', 10_000)).toMatchObject({
        already_finished: false,
        leftover_pids: [],
        state: { reason: 'cancelled', exit_code: 143 },
      });
    }
  });

  it('ends a job whose journal cannot be written any more, and so does its timeout', async () => {
    const cancelled = await ready('echo ready; exec sleep 60');
    const late = await ready('echo ready; exec sleep 60', { timeout_ms: 400 });
    for (const id of [cancelled, late]) {
      rmSync(join(lab.home, 'execs', id, 'journal'));
      mkdirSync(join(lab.home, 'execs', id, 'journal'));
    }
    expect((await lab.store.cancel(cancelled, 'TERM', 5_000)).state).toMatchObject({ reason: 'cancelled' });
    expect(await lab.store.ended(late)).toMatchObject({ reason: 'timeout' });
  });

  it('keeps the code of a job that traps the signal, and a 0 [row 7] [row 9]', async () => {
    for (const code of [9, 0]) {
      const id = await ready(`trap 'exit ${code}' TERM; echo ready; while :; do sleep 0.02; done`);
      expect((await lab.store.cancel(id, 'TERM', 5_000)).state).toMatchObject({
        reason: 'cancelled',
        exit_code: code,
      });
    }
  });

  it('kills what ignores TERM after the grace, and the record is kept [row 8]', async () => {
    const id = await ready('trap "" TERM; echo ready; while :; do sleep 0.02; done');
    const before = performance.now();
    const { state } = await lab.store.cancel(id, 'TERM', 300);
    expect(performance.now() - before).toBeGreaterThanOrEqual(295);
    expect(state).toMatchObject({ reason: 'cancelled', exit_code: 137 });
  });

  it('a second cancel with KILL does not wait for the grace of the first', async () => {
    const id = await ready('trap "" TERM; echo ready; while :; do sleep 0.02; done');
    const first = lab.store.cancel(id, 'TERM', 60_000);
    const second = await lab.store.cancel(id, 'KILL', 0);
    expect(second.state).toMatchObject({ reason: 'cancelled', exit_code: 137 });
    expect((await first).state).toMatchObject({ reason: 'cancelled' });
  });

  it('finds what has left the session, by its mark [row 17]', async () => {
    const id = await ready('echo ready; setsid sleep 60 & sleep 0.2; exec sleep 60');
    const mark = JSON.parse(lab.read(id, 'journal').split('\n')[1] ?? '').spec.mark as string;
    await waitFor('the escaped', () => lab.table.marked('CODEX_REMOTE_EXEC_MARK', mark).length >= 2);
    expect(await lab.store.cancel(id, 'TERM', 5_000)).toMatchObject({ leftover_pids: [] });
    expect(lab.table.marked('CODEX_REMOTE_EXEC_MARK', mark)).toEqual([]);
  });

  it('finds what cleared its environment by the session that a marked process leads [row 17]', async () => {
    const pidFile = join(lab.home, 'cleared');
    const id = await ready(
      `echo ready; setsid sh -c 'env -i sleep 60 & echo $! >${pidFile}; wait' & exec sleep 60`,
    );
    const pid = await waitFor('the cleared one', () => Number(readIf(pidFile)) || undefined);
    const cleared = lab.table.stat(pid) ?? { pid, start: -1 };
    expect(await lab.store.cancel(id, 'TERM', 5_000)).toMatchObject({ leftover_pids: [] });
    expect(lab.table.isAlive(cleared)).toBe(false);
  });

  it('does not find what left the session and cleared its environment: a limit [row 18]', async () => {
    const pidFile = join(lab.home, 'escaped');
    const id = await ready(
      `echo ready; (env -i setsid sh -c 'echo $$ >${pidFile}; exec sleep 60' &); exec sleep 60`,
    );
    const pid = await waitFor('the escaped one', () => Number(readIf(pidFile)) || undefined);
    await waitFor('its session', () => lab.table.stat(pid)?.session === pid);
    const escaped = lab.table.stat(pid) ?? { pid, start: -1 };
    try {
      expect(await lab.store.cancel(id, 'TERM', 5_000)).toMatchObject({
        leftover_pids: [],
        state: { status: 'finished', reason: 'cancelled', exit_code: 143 },
      });
      expect(lab.table.isAlive(escaped)).toBe(true);
    } finally {
      process.kill(pid, 'SIGKILL');
    }
  });

  it('has its intent on disk when the job gets the signal', async () => {
    const id = await ready(
      'cd $CODEX_REMOTE_HERE; trap "grep -c ^..cancel journal; exit 0" TERM; echo ready; while :; do sleep 0.02; done',
      { exec_id: 'intent', env: { CODEX_REMOTE_HERE: join(lab.home, 'execs', 'intent') } },
    );
    await lab.store.cancel(id, 'TERM', 5_000);
    expect(lab.read(id)).toBe('ready\n1\n');
  });

  it('another signal while the first is waited for is sent too; the first cause and the last signal are kept', async () => {
    const id = await ready(
      `trap 'echo int' INT; trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done`,
    );
    const first = lab.store.cancel(id, 'INT', 60_000);
    await waitFor('the first', () => lab.read(id) === 'ready\nint\n');
    expect(await lab.store.cancel(id, 'TERM', 60_000)).toMatchObject({
      leftover_pids: [],
      state: { reason: 'cancelled', exit_code: 7 },
    });
    expect(await first).toMatchObject({ already_finished: false });
    const intents = lab
      .read(id, 'journal')
      .split('\n')
      .filter((line) => line.startsWith('{"cancel"'))
      .map((line) => JSON.parse(line).cancel);
    expect(intents).toMatchObject([
      { cause: 'cancel', signal: 'INT' },
      { cause: 'cancel', signal: 'TERM' },
    ]);
  });

  it('a timeout during a cancel with a longer grace shortens it; the cancel stays the cause', async () => {
    const id = await ready('trap "" TERM; echo ready; while :; do sleep 0.02; done', {
      timeout_ms: 600,
      grace_ms: 0,
    });
    expect(await lab.store.cancel(id, 'TERM', 60_000)).toMatchObject({
      state: { reason: 'cancelled', exit_code: 137 },
    });
  });

  it('of a job held up between its gate and its start: it never runs', async () => {
    const marker = join(lab.home, 'ran');
    const spare = await waitFor('the spare at its gate', () =>
      lab.table.all().find((stat) => stat.session === stat.pid && isSpareOf(stat.pid)),
    );
    process.kill(spare.pid, 'SIGSTOP');
    const { state } = await lab.start(`touch ${marker}`);
    const { leftover_pids, state: after } = await lab.store.cancel(state.exec_id, 'TERM', 100);
    expect(leftover_pids).toEqual([]);
    expect(after).toMatchObject({ status: 'lost', reason: 'not_started', cancel_requested: true });
    expect(lab.table.isAlive(spare)).toBe(false);
    expect(existsSync(marker)).toBe(false);
  });

  it('names what it cannot prove to be of the job, and leaves it alone', async () => {
    const hidden = join(lab.home, 'hidden');
    const id = await ready(
      `echo ready; env -i sh -c 'trap "" TERM; echo $$ >${hidden}; sleep 60 & wait' & exec sleep 60`,
    );
    await waitFor('the hidden one', () =>
      lab.table.all().some((stat) => stat.pid === Number(readIf(hidden))),
    );
    const pid = Number(readIf(hidden));
    // Its leader ends by itself, so that nothing proves the session any more.
    const { leftover_pids } = await lab.store.cancel(id, 'TERM', 500);
    const alive = lab.table.isAlive(lab.table.stat(pid) ?? { pid, start: -1 });
    expect(alive ? leftover_pids.includes(pid) : leftover_pids.length === 0).toBe(true);
    if (alive) process.kill(pid, 'SIGKILL');
    for (const left of leftover_pids) if (left !== pid) process.kill(left, 'SIGKILL');
  });

  it('of an ended exec ends what that left running, and says no more than that it had finished', async () => {
    const pidFile = join(lab.home, 'server');
    const state = await lab.run(`nohup sleep 60 >/dev/null 2>&1 & echo $! >${pidFile}; exit 4`);
    const pid = Number(readIf(pidFile));
    const server = lab.table.stat(pid) ?? { pid, start: -1 };
    expect(lab.table.isAlive(server)).toBe(true);
    lab.reopen();
    expect(await lab.store.cancel(state.exec_id, 'TERM', 5_000)).toEqual({
      state: expect.objectContaining({ status: 'finished', reason: 'exited', exit_code: 4 }),
      already_finished: true,
      leftover_pids: [],
    });
    expect(lab.table.isAlive(server)).toBe(false);
  });

  it('of an ended exec with nothing left changes nothing', async () => {
    const state = await lab.run('exit 3');
    expect(await lab.store.cancel(state.exec_id, 'TERM', 0)).toEqual({
      state,
      already_finished: true,
      leftover_pids: [],
    });
  });

  it('of an unknown exec is exec_not_found', async () => {
    await expect(lab.store.cancel('nothing', 'TERM', 0)).rejects.toMatchObject({ code: 'exec_not_found' });
  });
});

describe('a timeout', () => {
  it('ends the job, whose code is kept', async () => {
    const state = await lab.run('trap "exit 8" TERM; while :; do sleep 0.02; done', { timeout_ms: 200 });
    expect(state).toMatchObject({ reason: 'timeout', exit_code: 8, timeout_ms: 200 });
  });

  it('kills after its grace', async () => {
    const state = await lab.run('trap "" TERM; while :; do sleep 0.02; done', {
      timeout_ms: 100,
      grace_ms: 100,
    });
    expect(state).toMatchObject({ reason: 'timeout', exit_code: 137 });
  });

  it('does nothing to a job that is faster', async () => {
    expect(await lab.run('exit 2', { timeout_ms: 60_000 })).toMatchObject({ reason: 'exited', exit_code: 2 });
  });
});

it('finished is told to listeners once, after running', async () => {
  const seen: string[] = [];
  const stop = lab.store.onChange((state) => seen.push(state.status));
  const state = await lab.run('true');
  stop();
  await lab.run('true');
  expect(seen).toEqual(['running', 'finished']);
  expect(finished(await lab.store.ended(state.exec_id))).toEqual(state);
});

/** The shell of a shim that has no job yet: its folder is in this home's staging, it waits at the gate. */
function isSpareOf(pid: number): boolean {
  const words = readIf(`/proc/${pid}/cmdline`).split('\0');
  return words.includes('inner') && readLinkIf(`/proc/${pid}/cwd`).startsWith(join(lab.home, 'staging'));
}

function readLinkIf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function readIf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
