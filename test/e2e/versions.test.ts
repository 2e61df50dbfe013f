import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Cli, Release, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** Lines of an agent of 0.1.0 under controllers of later releases. */
describe('an agent of 0.1.0', () => {
  let cli: Cli;
  let past: Release;
  let today: Release;

  beforeAll(async () => {
    cli = await Cli.open();
    // Today's controller, which finds the machine with the old agent on it.
    past = await Release.build('0.1.1');
    await past.bringOldAgent();
    today = await Release.build('0.1.2');
    await cli.using(past.program).json(['machine', 'up', 'local']);
  });
  afterAll(async () => {
    writeFileSync(join(cli.home, 'over'), '');
    await cli?.using(today.program).close();
    await Promise.all([past?.close(), today?.close()]);
  });

  test('starts, streams, cancels and reports for today’s controller', async () => {
    const user = cli.using(past.program);
    expect(await user.json(['machine', 'show', 'local'])).toMatchObject({
      connected: true,
      agent_version: '0.1.0',
    });
    const lines = await user.lines(
      ['exec', 'run', '-m', 'local', '--id', 'ran', '--cmd', 'echo out; echo err >&2; exit 3'],
      3,
    );
    expect(
      lines
        .filter(({ type }) => type === 'log')
        .map(({ stream, line }) => `${stream} ${line}`)
        .sort(),
    ).toEqual(['stderr err', 'stdout out']);
    expect(lines.at(-1)).toMatchObject({ type: 'finished', exit_code: 3 });
    const fed = await user.run(['exec', 'run', '-m', 'local', '--raw', '--stdin', '-', '--', '/bin/cat'], {
      input: 'from stdin\n',
    });
    expect(fed.stdout.toString()).toBe('from stdin\n');
    await user.json(['exec', 'start', '-m', 'local', '--id', 'stopped', '--cmd', 'sleep 60']);
    expect(await user.json(['exec', 'cancel', '--id', 'stopped'])).toMatchObject({ reason: 'cancelled' });
    const conflict = await user.json(['exec', 'start', '-m', 'local', '--id', 'ran', '--cmd', 'true'], 1);
    expect(conflict).toMatchObject({ error: { code: 'conflict' } });
    expect(await user.json(['exec', 'result', '--id', 'ran'])).toMatchObject({
      status: 'finished',
      exit_code: 3,
    });
  });

  test('is ready, and the check says that it lacks something and what helps', async () => {
    const check = await cli.using(past.program).json(['machine', 'check', 'local']);
    expect(check).toMatchObject({
      daemon_ok: true,
      agent_version: '0.1.0',
      next_action: 'done',
      next_command: 'codex-remote machine up -m local',
      error: { code: 'agent_outdated' },
    });
  });

  test('is not asked for what it does not know: agent_outdated, and nothing was sent', async () => {
    const refused = await cli
      .using(past.program)
      .json(['exec', 'start', '-m', 'local', '--id', 'queued', '--queue', 'gpu', '--cmd', 'true'], 1);
    expect(refused).toMatchObject({
      error: { code: 'agent_outdated', sent: 'no', machine: 'local' },
      next_command: 'codex-remote machine up -m local',
    });
  });

  test('is refused by a controller two versions ahead, whose next_command brings the agent that it needs, and a job runs on', async () => {
    const user = cli.using(today.program);
    const gate = join(cli.home, 'over');
    await user.json([
      'exec',
      'start',
      '-m',
      'local',
      '--id',
      'through',
      '--cmd',
      `until [ -e ${gate} ]; do sleep 0.1; done; exit 6`,
    ]);
    const pid = await waitFor(
      'its pid',
      async () => (await user.json(['exec', 'result', '--id', 'through'])).pid,
    );
    await user.json(['controller', 'stop']);
    const ahead = (text: string): string =>
      text.replaceAll(/\{current:1,oldest:1\}/g, '{current:3,oldest:2}');
    await today.change('controller.mjs', ahead);
    await today.change('agent.mjs', ahead);

    const check = await waitFor('the agent to be refused', async () => {
      const answer = await user.json(['machine', 'check', 'local']);
      return (answer.error as { code?: string } | undefined)?.code === 'agent_outdated' && answer;
    });
    expect(check).toMatchObject({
      daemon_ok: false,
      next_action: 'fix-config',
      next_command: 'codex-remote machine up -m local',
      error: { message: expect.stringContaining('the agent speaks protocol 1, this controller 2 to 3') },
    });
    for (const args of [
      ['exec', 'start', '-m', 'local', '--cmd', 'true'],
      ['exec', 'cancel', '--id', 'through'],
    ])
      expect(await user.json(args, 1)).toMatchObject({
        error: { code: 'agent_outdated', machine: 'local', sent: 'no' },
        next_command: 'codex-remote machine up -m local',
      });
    // What is known is still told.
    expect(await user.json(['exec', 'result', '--id', 'through'])).toMatchObject({
      status: 'running',
      machine_connected: false,
    });

    const up = await user.json(String(check.next_command).split(' ').slice(1));
    expect(up).toMatchObject({ already_up: false, agent_version: '0.1.2' });
    expect(await user.json(['exec', 'result', '--id', 'through'])).toMatchObject({ status: 'running', pid });
    writeFileSync(gate, '');
    expect(await user.json(['exec', 'wait', '--id', 'through'], 6)).toMatchObject({ exit_code: 6 });
    const after = await user.json(['machine', 'check', 'local']);
    expect(after).toMatchObject({ daemon_ok: true, next_action: 'done' });
    expect(after.error).toBeUndefined();
    // The new agent knows the old one's execs too.
    expect(await user.json(['exec', 'result', '--id', 'ran'])).toMatchObject({ exit_code: 3 });
    const { agent_home } = await user.json(['machine', 'show', 'local']);
    const versions = JSON.parse(readFileSync(join(String(agent_home), 'versions.json'), 'utf8'));
    expect(versions).toMatchObject({ current: { bundle: expect.any(String) } });
  });
});
