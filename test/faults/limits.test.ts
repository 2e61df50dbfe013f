import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Cli, needs, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

/** Limits of the system that are put on the agent and the controller while they serve, by prlimit(1). */
describe('a limit of the system', () => {
  let cli: Cli;
  let home: string;

  beforeEach((context) => needs(context, 'root', 'prlimit'));
  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
    home = String((await cli.json(['machine', 'show', 'local'])).agent_home);
  });
  afterAll(() => cli?.close());

  const truth = (name: string) => readFileSync(join(cli.home, `${name}.truth`), 'utf8');
  const agentPid = () => Number(JSON.parse(readFileSync(join(home, 'agent.json'), 'utf8')).pid);
  /** With this as the limit so many more can be opened. */
  const limitOf = (pid: number, more: number) => {
    const open = new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
    let limit = 0;
    for (let free = 0; free < more || open.has(limit); limit++) if (!open.has(limit)) free++;
    return limit;
  };
  const limit = (pid: number, what: string) => execFileSync('prlimit', ['--pid', String(pid), what]);
  const waiting = (name: string) =>
    `while [ ! -e ${join(cli.home, `${name}.go`)} ]; do sleep 0.02; done; echo said; echo ran >>${join(cli.home, `${name}.truth`)}; exit 7`;
  const start = async (name: string): Promise<string> => {
    const { exec_id } = await cli.json(['exec', 'start', '-m', 'local', '--cmd', waiting(name)]);
    return String(exec_id);
  };
  const refused = (code: string) => async () => {
    const { status, stdout } = await cli.run(['exec', 'start', '-m', 'local', '--cmd', 'true']);
    if (status === 0) return false;
    const answer = JSON.parse(stdout.toString());
    if (answer.error.code !== code) throw new Error(`not ${code}: ${stdout}`);
    return answer;
  };

  test('on the size of files (RLIMIT_FSIZE): new execs are refused, the agent lives, and what runs is recorded [row 34]', async () => {
    const id = await start('size');
    const pid = agentPid();
    limit(pid, '--fsize=16:unlimited');
    const answer = await waitFor('a refusal', refused('state_unusable'));
    expect(answer).toMatchObject({ ok: false, error: { message: expect.stringContaining('EFBIG') } });
    writeFileSync(join(cli.home, 'size.go'), '');
    expect(await cli.json(['exec', 'wait', '--id', id], 7)).toMatchObject({
      exit_code: 7,
      stdout_tail: 'said\n',
    });
    expect(truth('size')).toBe('ran\n');
    expect(agentPid()).toBe(pid);
    limit(pid, '--fsize=unlimited:unlimited');
    // A shim that was being made for the next job may have kept the limit.
    await cli.json(['machine', 'down', 'local']);
    await cli.json(['machine', 'up', 'local']);
    await cli.json(['exec', 'run', '-m', 'local', '--brief', '--cmd', 'true']);
  });

  test('on the descriptors of the agent: new execs are refused, the session and what runs stay, and it recovers [row 45]', async () => {
    const id = await start('agent');
    const pid = agentPid();
    limit(pid, `--nofile=${limitOf(pid, 0)}:`);
    await waitFor('a refusal', refused('fds_exhausted'));
    writeFileSync(join(cli.home, 'agent.go'), '');
    await waitFor('the job', () => truth('agent') === 'ran\n');
    expect(await cli.json(['machine', 'show', 'local'])).toMatchObject({ connected: true });
    limit(pid, '--nofile=4096:');
    expect(await cli.json(['exec', 'wait', '--id', id], 7)).toMatchObject({
      status: 'finished',
      exit_code: 7,
    });
    await cli.json(['exec', 'run', '-m', 'local', '--brief', '--cmd', 'true']);
    expect(agentPid()).toBe(pid);
  });

  test('on the descriptors of the controller: callers are told, followers and sessions stay, and it recovers [row 45]', async () => {
    const id = await start('controller');
    const follower = cli.run(['exec', 'watch', '--id', id]);
    const pid = Number(await cli.controllerPid());
    await waitFor(
      'the follower',
      () => readdirSync(`/proc/${pid}/fd`).filter((fd) => linkOf(pid, fd).startsWith('socket:')).length > 3,
    );
    limit(pid, `--nofile=${limitOf(pid, 4)}:`);
    await waitFor('a refusal', refused('fds_exhausted'));
    writeFileSync(join(cli.home, 'controller.go'), '');
    const followed = await follower;
    expect([followed.status, followed.stdout.toString()]).toEqual([
      7,
      expect.stringContaining('"line":"said"'),
    ]);
    limit(pid, '--nofile=4096:');
    await cli.json(['exec', 'run', '-m', 'local', '--brief', '--cmd', 'true']);
    expect(await cli.controllerPid()).toBe(pid);
  });

  function linkOf(pid: number, fd: string): string {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return '';
    }
  }
});
