import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Cli, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

describe('queues and predecessors, through the CLI', () => {
  let cli: Cli;

  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
  });
  afterAll(() => cli?.close());

  /** Runs until it is let go, then exits with `code`. */
  const job = (id: string, code = 0) =>
    `echo ${id}; while [ ! -e ${join(cli.home, id)} ]; do sleep 0.02; done; exit ${code}`;
  const start = (id: string, ...flags: string[]) =>
    cli.json(['exec', 'start', '-m', 'local', '--id', id, '--cmd', job(id), ...flags]);
  const letGo = (id: string) => writeFile(join(cli.home, id), '');
  const result = (id: string) => cli.json(['exec', 'result', '--id', id]);
  const show = async () => (await cli.json(['machine', 'show', 'local'])).queues;

  test('a queue is set, shown, kept to, and a place in it is told; run, wait and watch go through it', async () => {
    expect(await cli.json(['machine', 'set', '-m', 'local', '--queue', 'gpu=1'])).toEqual({
      ok: true,
      machine: 'local',
      queues: [{ queue: 'gpu', concurrency: 1, running: 0, queued: 0 }],
    });
    expect(await start('g1', '--queue', 'gpu')).toMatchObject({ status: 'running', queue: 'gpu' });
    const watched = cli.spawn([
      'exec',
      'run',
      '-m',
      'local',
      '--id',
      'g2',
      '--queue',
      'gpu',
      '--cmd',
      'echo mine; exit 7',
    ]);
    const lines: Record<string, unknown>[] = [];
    const reader = createInterface(watched.stdout).on('line', (line) => lines.push(JSON.parse(line)));
    await once(reader, 'line');
    expect(lines[0]).toMatchObject({
      type: 'started',
      status: 'queued',
      reason: 'queue_full',
      queue: 'gpu',
      position: 1,
      waiting_for: ['g1'],
      next_action: 'wait',
    });
    expect(await start('g3', '--queue', 'gpu')).toMatchObject({ status: 'queued', position: 2 });
    expect(await result('g3')).toMatchObject({
      status: 'queued',
      position: 2,
      exit_code: null,
      next_action: 'wait',
    });
    expect(await show()).toEqual([{ queue: 'gpu', concurrency: 1, running: 1, queued: 2 }]);
    const listed = await cli.json(['exec', 'list', '--status', 'queued']);
    expect((listed.execs as { exec_id: string }[]).map(({ exec_id }) => exec_id).sort()).toEqual([
      'g2',
      'g3',
    ]);
    expect(await cli.json(['exec', 'wait', '--id', 'g3', '--max-wait', '100ms'], 75)).toMatchObject({
      status: 'queued',
      next_action: 'wait',
    });
    await letGo('g1');
    const [status] = await once(watched, 'close');
    expect(status).toBe(7);
    expect(lines.map((line) => line.line ?? line.type)).toEqual(['started', 'mine', 'finished']);
    await letGo('g3');
    expect(await cli.json(['exec', 'wait', '--id', 'g3'])).toMatchObject({ exit_code: 0, queue: 'gpu' });
  });

  test('cancelled in the queue: exit 130 for who waits, and it never ran', async () => {
    await cli.json(['machine', 'set', 'local', '--queue', 'held=0']);
    expect(await start('h1', '--queue', 'held')).toMatchObject({ status: 'queued', reason: 'queue_paused' });
    const waiting = cli.json(['exec', 'wait', '--id', 'h1'], 130);
    const cancelled = { status: 'finished', reason: 'cancelled', exit_code: 130, next_action: 'done' };
    expect(await cli.json(['exec', 'cancel', '--id', 'h1'])).toMatchObject({
      ...cancelled,
      already_finished: false,
      leftover_pids: [],
    });
    expect(await waiting).toMatchObject(cancelled);
    expect(await waiting).not.toHaveProperty('started_at');
    const human = await cli.run(['exec', 'result', '--human', '--id', 'h1']);
    expect(human.stdout.toString()).toContain('h1 on local: cancelled before its start');
  });

  test('--after runs after success only, --after-any whatever came; an id that is not known is refused', async () => {
    await start('p1');
    expect(await start('s1', '--after', 'p1')).toMatchObject({
      status: 'queued',
      reason: 'dependency',
      waiting_for: ['p1'],
    });
    await letGo('s1');
    await letGo('p1');
    expect(await cli.json(['exec', 'wait', '--id', 's1'])).toMatchObject({ exit_code: 0 });
    await cli.json(['exec', 'run', '-m', 'local', '--brief', '--id', 'bad', '--cmd', 'exit 3'], 3);
    const lost = {
      status: 'lost',
      reason: 'not_started',
      why: 'dependency_failed',
      detail: 'bad ended with exit code 3',
      safe_to_retry: true,
      exit_code: null,
    };
    expect(await start('s2', '--after', 'bad')).toMatchObject(lost);
    expect(
      (await cli.lines(['exec', 'run', '-m', 'local', '--id', 's3', '--after', 'bad', '--', 'true'], 255)).at(
        -1,
      ),
    ).toMatchObject({
      type: 'finished',
      ...lost,
    });
    await cli.lines(['exec', 'run', '-m', 'local', '--id', 's4', '--after-any', 'bad', '--', 'true']);
    expect(
      await cli.json(['exec', 'start', '-m', 'local', '--id', 's5', '--after', 'nobody', '--', 'true'], 1),
    ).toMatchObject({
      error: {
        code: 'exec_not_found',
        exec_id: 's5',
        sent: 'no',
        message: expect.stringContaining('exec_id not found: nobody'),
      },
      next_action: 'fix-config',
    });
    expect(await cli.json(['exec', 'result', '--id', 's5'], 1)).toMatchObject({
      error: { code: 'exec_not_found' },
    });
  });

  test('the agent is killed: queue, order and settings are there again, and a follower comes through', async () => {
    await cli.json(['machine', 'set', 'local', '--queue', 'k=1']);
    await start('k1', '--queue', 'k');
    await start('k2', '--queue', 'k', '--env', 'TOKEN=only-while-queued');
    const waiting = cli.json(['exec', 'wait', '--id', 'k2']);
    const { agent_home } = await cli.json(['machine', 'show', 'local']);
    const { pid } = JSON.parse(await readFile(join(String(agent_home), 'agent.json'), 'utf8')) as {
      pid: number;
    };
    process.kill(pid, 'SIGKILL');
    await cli.json(['machine', 'up', 'local']);
    expect(await result('k2')).toMatchObject({ status: 'queued', position: 1, waiting_for: ['k1'] });
    await letGo('k2');
    await letGo('k1');
    expect(await waiting).toMatchObject({ exit_code: 0 });
    expect(await show()).toContainEqual({ queue: 'k', concurrency: 1, running: 0, queued: 0 });
  });

  test('machine down keeps what is queued, says so, and does not purge it; it starts after machine up', async () => {
    await cli.json(['machine', 'set', 'local', '--queue', 'd=0']);
    await start('d1', '--queue', 'd');
    expect(await cli.json(['machine', 'down', 'local'])).toMatchObject({ queued: ['d1'], purged: false });
    expect(await cli.json(['machine', 'down', 'local', '--purge'], 1)).toMatchObject({
      error: { code: 'conflict' },
    });
    expect(await cli.json(['machine', 'set', 'local', '--queue', 'd=1'], 1)).toMatchObject({
      error: { code: 'machine_offline' },
    });
    await cli.json(['machine', 'up', 'local']);
    await cli.json(['machine', 'set', 'local', '--queue', 'd=1']);
    await waitFor('d1 to run', async () => (await result('d1')).status === 'running');
    await letGo('d1');
    expect(await cli.json(['exec', 'wait', '--id', 'd1'])).toMatchObject({ exit_code: 0 });
  });
});
