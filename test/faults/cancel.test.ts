import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ProcessTable } from '@codex-remote/platform';
import { Cli, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const table = new ProcessTable();

/** What `exec cancel` and `--timeout` do to a job, told by the job itself and by every command that answers about it. */
describe('a job is ended', () => {
  let cli: Cli;
  let dir: string;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'crk-'));
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
  });
  afterAll(async () => {
    await cli?.close();
    await rm(dir, { recursive: true, force: true });
  });

  const truth = async (name: string) =>
    (await readFile(join(dir, name), 'utf8').catch(() => '')).split('\n').filter(Boolean);

  /** Notes its start, each signal and its exit; `on` says what it does at TERM and INT. */
  async function start(name: string, on: { TERM?: string; INT?: string } = {}, more: string[] = []) {
    const file = join(dir, name);
    const cmd = `note() { echo "$@" >>${file}; }
      trap 'code=$?; note exit $code; exit $code' EXIT
      trap 'note TERM; ${on.TERM ?? 'exit 143'}' TERM; trap 'note INT; ${on.INT ?? 'exit 130'}' INT
      note start $$; while :; do sleep 0.02; done`;
    await cli.json(['exec', 'start', '-m', 'local', '--id', name, ...more, '--cmd', cmd]);
    const pid = await waitFor(
      'the start',
      async () => Number((await truth(name))[0]?.split(' ')[1]) || undefined,
    );
    const job = table.stat(pid) ?? { pid, start: -1 };
    return () => table.isAlive(job);
  }
  const cancel = (id: string, ...flags: string[]) => cli.json(['exec', 'cancel', '--id', id, ...flags]);
  const done = { ok: true, status: 'finished', next_action: 'done', cancel_requested: true };

  test('by each signal that can be asked for; what it traps it answers with its own code [row 7]', async () => {
    for (const [signal, code, said] of [
      ['TERM', 9, ['TERM', 'exit 9']],
      ['INT', 8, ['INT', 'exit 8']],
      ['KILL', 137, []],
    ] as const) {
      const id = `by-${signal.toLowerCase()}`;
      const lives = await start(id, { TERM: 'exit 9', INT: 'exit 8' });
      expect(await cancel(id, '--signal', signal)).toMatchObject({
        ...done,
        reason: 'cancelled',
        exit_code: code,
        already_finished: false,
        leftover_pids: [],
      });
      expect(lives()).toBe(false);
      expect((await truth(id)).slice(1)).toEqual(said);
      // The code of the job is the status of whoever waits.
      expect(await cli.json(['exec', 'wait', '--id', id], code)).toMatchObject({ reason: 'cancelled' });
    }
  });

  test('which ignores the signal: KILL comes after --grace, and not before [row 8]', async () => {
    const lives = await start('ignores', { TERM: ':' });
    const began = performance.now();
    expect(await cancel('ignores', '--grace', '1s')).toMatchObject({ ...done, exit_code: 137 });
    expect(performance.now() - began).toBeGreaterThanOrEqual(990);
    expect(lives()).toBe(false);
    expect((await truth('ignores')).slice(1)).toEqual(['TERM']);
  });

  test('and exits 0: still cancelled, and 130 for run, watch and wait [row 9]', async () => {
    await start('zero', { TERM: 'exit 0' });
    const watching = cli.lines(['exec', 'watch', '--id', 'zero'], 130);
    const waiting = cli.json(['exec', 'wait', '--id', 'zero'], 130);
    expect(await cancel('zero')).toMatchObject({ ...done, reason: 'cancelled', exit_code: 0 });
    for (const answer of [
      await waiting,
      (await watching).at(-1),
      await cli.json(['exec', 'result', '--id', 'zero']),
    ])
      expect(answer).toMatchObject({ reason: 'cancelled', exit_code: 0, cancel_requested: true });
    expect((await truth('zero')).slice(1)).toEqual(['TERM', 'exit 0']);
  });

  test('more than one needs --yes, then all are ended; an ended one is no failure', async () => {
    const alive = [await start('one'), await start('two')];
    const ids = ['--id', 'one', '--id', 'two'];
    const refused = await cli.json(['exec', 'cancel', ...ids], 2);
    expect(refused).toMatchObject({ ok: false, error: { code: 'usage' } });
    expect(JSON.stringify(refused)).toContain('--yes');
    expect(alive.map((lives) => lives())).toEqual([true, true]);
    const { execs } = await cli.json(['exec', 'cancel', ...ids, '--yes']);
    expect(execs).toMatchObject([
      { exec_id: 'one', reason: 'cancelled', exit_code: 143, already_finished: false },
      { exec_id: 'two', reason: 'cancelled', exit_code: 143, already_finished: false },
    ]);
    expect(alive.map((lives) => lives())).toEqual([false, false]);
    expect(await cancel('one', '--signal', 'KILL')).toMatchObject({
      reason: 'cancelled',
      exit_code: 143,
      already_finished: true,
      leftover_pids: [],
    });
  });

  test('the caller goes away in the grace: the cancel goes on', async () => {
    const lives = await start('left', { TERM: ':' });
    const child = cli.spawn(['exec', 'cancel', '--id', 'left', '--grace', '2s']);
    await waitFor('the signal', async () => (await truth('left')).includes('TERM'));
    child.kill('SIGKILL');
    await waitFor('its end', () => !lives());
    expect(await cli.json(['exec', 'wait', '--id', 'left'], 137)).toMatchObject({ reason: 'cancelled' });
  });

  test('the agent is killed in the grace: the next one goes on, and the grace is that of the first', async () => {
    const lives = await start('restarted', { TERM: ':' });
    const cancelling = cli.run(['exec', 'cancel', '--id', 'restarted', '--grace', '6s']);
    await waitFor('the signal', async () => (await truth('restarted')).includes('TERM'));
    const began = performance.now();
    const home = String((await cli.json(['machine', 'show', 'local'])).agent_home);
    process.kill(JSON.parse(await readFile(join(home, 'agent.json'), 'utf8')).pid, 'SIGKILL');
    await cli.json(['machine', 'up', 'local']);
    // Sent again by itself: the caller has noticed nothing.
    const { status, stdout } = await cancelling;
    expect([status, JSON.parse(stdout.toString())]).toMatchObject([
      0,
      { reason: 'cancelled', exit_code: 137 },
    ]);
    expect(performance.now() - began).toBeGreaterThan(4_000);
    expect(lives()).toBe(false);
  });

  test('--timeout ends it over a restart of the agent, with 124; the job that exits 0 too', async () => {
    const lives = await start('late', { TERM: 'exit 0' }, ['--timeout', '4s']);
    const home = String((await cli.json(['machine', 'show', 'local'])).agent_home);
    process.kill(JSON.parse(await readFile(join(home, 'agent.json'), 'utf8')).pid, 'SIGKILL');
    await cli.json(['machine', 'up', 'local']);
    const answer = await cli.json(['exec', 'wait', '--id', 'late'], 124);
    expect(answer).toMatchObject({ reason: 'timeout', exit_code: 0, cancel_requested: true });
    expect(answer.duration_ms).toBeGreaterThanOrEqual(3_900);
    expect(lives()).toBe(false);
    expect((await truth('late')).slice(1)).toEqual(['TERM', 'exit 0']);
  });
});
