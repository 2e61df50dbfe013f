import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Cli, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** Each part of ours is killed while a job runs: the job notices nothing, and its record is exact. */
describe('a job belongs to its machine', () => {
  let cli: Cli;

  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
  });
  afterAll(() => cli?.close());

  /** Writes its own pid and a line for each start to a file of its own: a wrong report cannot hide. */
  const counting = (name: string, count: number) =>
    `echo $$ >> ${join(cli.home, `${name}.starts`)}; for i in $(seq ${count}); do echo $i; sleep 0.01; done; exit 3`;
  const starts = async (name: string) =>
    (await readFile(join(cli.home, `${name}.starts`), 'utf8')).trim().split('\n').map(Number);

  test('the CLI is killed during exec run: the job goes on, and its id was in the first line', async () => {
    const child = cli.spawn(['exec', 'run', '-m', 'local', '--cmd', counting('cli', 100)]);
    const first = await once(createInterface(child.stdout), 'line');
    const { exec_id } = JSON.parse(String(first[0])) as { exec_id: string };
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await cli.json(['exec', 'wait', '--id', exec_id], 3)).toMatchObject({
      exit_code: 3,
      reason: 'exited',
    });
    expect(await starts('cli')).toHaveLength(1);
  });

  test('SIGTERM to exec run detaches: last line, exit 75, job goes on', async () => {
    const child = cli.spawn(['exec', 'run', '-m', 'local', '--cmd', counting('term', 100)]);
    const lines: string[] = [];
    const reader = createInterface(child.stdout).on('line', (line) => lines.push(line));
    await once(reader, 'line');
    child.kill('SIGTERM');
    const [status] = await once(child, 'close');
    expect(status).toBe(75);
    const last = JSON.parse(String(lines.at(-1))) as Record<string, unknown>;
    expect(last).toMatchObject({
      type: 'detached',
      next_action: 'wait',
      next_command: expect.stringContaining(String(last.exec_id)),
    });
    await cli.json(['exec', 'wait', '--id', String(last.exec_id)], 3);
  });

  test('the controller is killed and comes back: a follower resumes at its offset, nothing lost or doubled [row 10]', async () => {
    const { exec_id } = await cli.json([
      'exec',
      'start',
      '-m',
      'local',
      '--cmd',
      counting('controller', 400),
    ]);
    const follower = cli.run(['exec', 'logs', '--id', String(exec_id), '--follow']);
    const seen = async () =>
      Number((await cli.json(['exec', 'result', '--id', String(exec_id)])).stdout_bytes);
    await waitFor('some output', async () => (await seen()) > 50);
    const before = await cli.controllerPid();
    if (before === undefined) throw new Error('no controller runs');
    process.kill(before, 'SIGKILL');
    await waitFor('another controller', async () => {
      const status = await cli.json(['exec', 'result', '--id', String(exec_id)]).catch(() => undefined);
      return status !== undefined && (await cli.controllerPid()) !== before;
    });
    const followed = (await follower).stdout
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const numbers = followed.filter((line) => line.type === 'log').map((line) => Number(line.line));
    expect(numbers).toEqual(Array.from({ length: 400 }, (_, i) => i + 1));
    expect(followed.at(-1)).toMatchObject({ type: 'end', complete: true });
    expect(await cli.json(['exec', 'wait', '--id', String(exec_id)], 3)).toMatchObject({ exit_code: 3 });
    expect(await starts('controller')).toHaveLength(1);
  });

  test('the agent is killed and machine up brings it back: same pid, right exit code [row 1]', async () => {
    const { exec_id } = await cli.json(['exec', 'start', '-m', 'local', '--cmd', counting('agent', 300)]);
    const [pid] = await waitFor('the start', () => starts('agent').catch(() => undefined));
    const agents = await agentPids();
    expect(agents).toHaveLength(1);
    for (const agent of agents) process.kill(agent, 'SIGKILL');
    const answer = await waitFor('the machine to be away', async () => {
      const now = await cli.json(['exec', 'result', '--id', String(exec_id)]);
      return now.machine_connected === false && now;
    });
    // Losing contact changes no status.
    expect(answer).toMatchObject({ status: 'running', as_of: expect.any(String) });
    await cli.json(['machine', 'up', 'local']);
    expect(await cli.json(['exec', 'result', '--id', String(exec_id)])).toMatchObject({
      status: 'running',
      pid,
    });
    expect(await cli.json(['exec', 'wait', '--id', String(exec_id)], 3)).toMatchObject({ exit_code: 3 });
    const logs = await cli.run(['exec', 'logs', '--id', String(exec_id), '--raw', '--tail', '1000']);
    expect(logs.stdout.toString().trim().split('\n').map(Number)).toEqual(
      Array.from({ length: 300 }, (_, i) => i + 1),
    );
    expect(await starts('agent')).toHaveLength(1);
  });

  test('the same id sent twice is one process; with another command it is a conflict [row 53] [row 54]', async () => {
    const cmd = counting('twice', 20);
    const args = ['exec', 'start', '-m', 'local', '--id', 'only-once', '--cmd'];
    const both = await Promise.all([cli.json([...args, cmd]), cli.json([...args, cmd])]);
    expect(both.filter((answer) => answer.attached === true)).toHaveLength(1);
    await cli.json(['exec', 'wait', '--id', 'only-once'], 3);
    expect(await cli.json([...args, cmd])).toMatchObject({
      attached: true,
      status: 'finished',
      exit_code: 3,
    });
    expect(await starts('twice')).toHaveLength(1);
    const conflict = await cli.json([...args, 'echo other'], 1);
    expect(conflict).toMatchObject({
      ok: false,
      error: { code: 'conflict', exec_id: 'only-once', hint: expect.any(String) },
    });
    expect(String((conflict.error as Record<string, unknown>).message)).toContain('conflict');
  });

  /** The daemon of this home, found by its own words. */
  async function agentPids(): Promise<number[]> {
    const { stdout } = await cli.run([
      'exec',
      'run',
      '-m',
      'local',
      '--raw',
      '--cmd',
      `pgrep -f 'agent.mjs daemon --home ${cli.home}'`,
    ]);
    const own = stdout.toString().trim().split('\n').map(Number);
    // pgrep's own shell has the words in its command line too: only a process of ours that is a node counts.
    const found: number[] = [];
    for (const pid of own) {
      const comm = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
      if (/^(node|MainThread)/.test(comm)) found.push(pid);
    }
    return found;
  }
});
