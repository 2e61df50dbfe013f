import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Cli, needs, SmallDisk, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

/** The agent's home is on a disk of its own that is full; what the job itself writes is on another one. */
describe('a full disk under the agent', () => {
  let cli: Cli;
  let disk: SmallDisk;
  let home: string;

  beforeEach((context) => needs(context, 'root'));
  beforeAll(async () => {
    // With what starts an agent again after a crash.
    cli = await Cli.open({ CODEX_REMOTE_AGENT_SERVICE: 'detached' });
    await cli.json(['machine', 'up', 'local']);
    home = String((await cli.json(['machine', 'show', 'local'])).agent_home);
    await cli.json(['machine', 'down', 'local']);
    // More than the agent leaves free for what runs.
    disk = await SmallDisk.under(home, '96m');
    await cli.json(['machine', 'up', 'local']);
  });
  afterAll(async () => {
    await disk?.free();
    await cli?.run(['machine', 'down', 'local']);
    await disk?.close();
    await cli?.close();
  });

  const truth = (name: string) => readFileSync(join(cli.home, `${name}.truth`), 'utf8');
  const agentPid = () => Number(JSON.parse(readFileSync(join(home, 'agent.json'), 'utf8')).pid);
  /** Once it is let go: writes so many bytes to its log, then says elsewhere that it has run. */
  const writing = (name: string, bytes: number) =>
    `while [ ! -e ${join(cli.home, `${name}.go`)} ]; do sleep 0.02; done; head -c ${bytes} /dev/zero | tr '\\0' x; echo ran >>${join(cli.home, `${name}.truth`)}; exit 7`;
  const start = async (name: string, bytes: number): Promise<string> => {
    const { exec_id } = await cli.json(['exec', 'start', '-m', 'local', '--cmd', writing(name, bytes)]);
    return String(exec_id);
  };

  test('loses no exit code: it is told while nothing can be written [row 31]', async () => {
    const id = await start('first', 1000);
    disk.fill();
    writeFileSync(join(cli.home, 'first.go'), '');
    expect(await cli.json(['exec', 'wait', '--id', id], 7)).toMatchObject({
      status: 'finished',
      reason: 'exited',
      exit_code: 7,
    });
    expect(truth('first')).toBe('ran\n');
    await disk.free();
  });

  test('holds up a job that fills its pipe, says log_incomplete meanwhile, and lets it go on once there is room [row 32]', async () => {
    const bytes = 600_000;
    const id = await start('much', bytes);
    const pid = agentPid();
    disk.fill();
    writeFileSync(join(cli.home, 'much.go'), '');
    await waitFor('the warning', async () => {
      const { status, warnings } = await cli.json(['exec', 'result', '--id', id]);
      return status === 'running' && JSON.stringify(warnings) === '["log_incomplete"]';
    });
    await disk.free();
    const answer = await cli.json(['exec', 'wait', '--id', id], 7);
    expect(answer).toMatchObject({ status: 'finished', exit_code: 7, warnings: ['log_incomplete'] });
    // What one cat had in its hands is lost: 128 KiB at most.
    expect(answer.stdout_bytes).toBeGreaterThanOrEqual(bytes - 128 * 1024);
    expect(truth('much')).toBe('ran\n');
    expect(agentPid()).toBe(pid);
  });

  test('refuses new execs with disk_low before they are accepted, and leaves nothing of them [row 32] [row 33]', async () => {
    const pid = agentPid();
    const before = readdirSync(join(home, 'execs'));
    disk.fill();
    const refused = await cli.json(
      [
        'exec',
        'start',
        '-m',
        'local',
        '--id',
        'refused',
        '--cmd',
        `echo ran >>${join(cli.home, 'refused.truth')}`,
      ],
      1,
    );
    expect(refused).toMatchObject({
      ok: false,
      error: { code: 'disk_low', retryable: true, exec_id: 'refused' },
    });
    expect(readdirSync(join(home, 'execs'))).toEqual(before);
    await disk.free();
    // The id was never taken.
    await cli.json([
      'exec',
      'run',
      '-m',
      'local',
      '--id',
      'refused',
      '--brief',
      '--cmd',
      `echo ran >>${join(cli.home, 'refused.truth')}`,
    ]);
    expect(truth('refused')).toBe('ran\n');
    expect(agentPid()).toBe(pid);
  });

  test('an agent that is killed comes back on it, with the job that ended meanwhile [row 31]', async () => {
    const id = await start('killed', 1000);
    disk.fill();
    const pid = agentPid();
    process.kill(pid, 'SIGKILL');
    writeFileSync(join(cli.home, 'killed.go'), '');
    await waitFor('the job', () => truth('killed') === 'ran\n');
    expect(await cli.json(['exec', 'wait', '--id', id], 7, { timeoutMs: 60_000 })).toMatchObject({
      status: 'finished',
      exit_code: 7,
    });
    await disk.free();
    expect(await cli.json(['machine', 'check', 'local'])).toMatchObject({ daemon_ok: true });
  });
});
