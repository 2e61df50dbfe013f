import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ProcessTable } from '@codex-remote/platform';
import { Cli, cliProgram, needs, Release, UserManager, waitFor } from '@codex-remote/test/lab';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const table = new ProcessTable();

interface AgentState {
  readonly pid: number;
  readonly start: number;
}

async function agentHome(cli: Cli): Promise<string> {
  return String((await cli.json(['machine', 'show', 'local'])).agent_home);
}

/** What the daemon of a home says of itself, while it runs. */
function agentIn(home: string): AgentState | undefined {
  try {
    const state = JSON.parse(readFileSync(join(home, 'agent.json'), 'utf8')) as AgentState;
    return table.isAlive(state) ? state : undefined;
  } catch {
    return undefined;
  }
}

/** The agent that serves in place of `before`, once it has a session. */
async function successor(cli: Cli, home: string, before: AgentState): Promise<AgentState> {
  const after = await waitFor('another agent', () => {
    const now = agentIn(home);
    return now?.pid === before.pid ? undefined : now;
  });
  await waitFor('its session', async () => (await cli.json(['machine', 'show', 'local'])).connected === true);
  return after;
}

/** A job that runs until its file is there, then ends with 4; returns its pid. */
async function startJob(cli: Cli, id: string): Promise<number> {
  const cmd = `until [ -e ${join(cli.home, id)} ]; do sleep 0.1; done; exit 4`;
  await cli.json(['exec', 'start', '-m', 'local', '--id', id, '--cmd', cmd]);
  return Number(await waitFor('its pid', async () => (await cli.json(['exec', 'result', '--id', id])).pid));
}

async function expectGoesOn(cli: Cli, id: string, pid: number): Promise<void> {
  expect(await cli.json(['exec', 'result', '--id', id])).toMatchObject({ status: 'running', pid });
}

async function expectEnds(cli: Cli, id: string): Promise<void> {
  writeFileSync(join(cli.home, id), '');
  expect(await cli.json(['exec', 'wait', '--id', id], 4)).toMatchObject({ reason: 'exited', exit_code: 4 });
}

describe('an agent that no service manager keeps', () => {
  let cli: Cli;
  beforeEach(async () => {
    cli = await Cli.open({ CODEX_REMOTE_AGENT_SERVICE: 'detached' });
  });
  afterEach(() => cli.close());

  test('comes back by itself after a crash, and its job goes on; not after machine down, also within its pause [row 1]', async () => {
    const up = await cli.json(['machine', 'up', 'local']);
    expect(up).toMatchObject({ service: { kind: 'detached', survives: { reboot: 'no', crash: 'yes' } } });
    expect(serviceWarnings(up)).toEqual([expect.stringContaining('--boot')]);
    const home = await agentHome(cli);
    const pid = await startJob(cli, 'crashes');
    const first = agentIn(home) ?? expect.fail('no agent');
    process.kill(first.pid, 'SIGKILL');
    const second = await successor(cli, home, first);
    await expectGoesOn(cli, 'crashes', pid);
    expect(await cli.json(['machine', 'up', 'local'])).toMatchObject({ already_up: true });
    await expectEnds(cli, 'crashes');

    process.kill(second.pid, 'SIGKILL');
    const keeper = Number(readFileSync(join(home, 'keeper'), 'utf8'));
    expect(await cli.json(['machine', 'down', 'local'])).toMatchObject({ running: [] });
    await waitFor('the end of its keeper', () => table.stat(keeper) === undefined || isZombie(keeper));
    expect(agentIn(home)).toBeUndefined();
  });

  test('whose keeper was killed gets another with the next machine up, without a second agent', async () => {
    await cli.json(['machine', 'up', 'local']);
    const home = await agentHome(cli);
    const pid = await startJob(cli, 'unkept');
    const first = agentIn(home) ?? expect.fail('no agent');
    process.kill(Number(readFileSync(join(home, 'keeper'), 'utf8')), 'SIGKILL');
    expect(await cli.json(['machine', 'up', 'local'])).toMatchObject({ already_up: false });
    const second = await successor(cli, home, first);
    expect(table.stat(second.pid)?.parent).toBe(Number(readFileSync(join(home, 'keeper'), 'utf8')));
    expect(table.isAlive(first)).toBe(false);
    await expectGoesOn(cli, 'unkept', pid);
    await expectEnds(cli, 'unkept');
  });
});

describe('an agent under a systemd user manager', () => {
  let cli: Cli;
  let manager: UserManager;

  beforeEach(async (context) => {
    needs(context, 'a user manager of systemd');
    const user = await Cli.open({ CODEX_REMOTE_AGENT_SERVICE: 'auto' });
    manager = await UserManager.start(user.home);
    Object.assign(user.env, manager.env);
    cli = user.using([...manager.within, cliProgram]);
  });
  afterEach(async () => {
    await cli?.close();
    await manager?.close();
  });

  const folder = (): string => join(cli.home, '.config/systemd/user');
  const units = (): string[] =>
    existsSync(folder())
      ? readdirSync(folder()).filter((name) => name.startsWith('codex-remote-agent-'))
      : [];

  test('is its unit: jobs live in its control group, and no crash, restart or stop of it ends them [row 1] [row 30]', async () => {
    const up = await cli.json(['machine', 'up', 'local']);
    const service = { kind: 'systemd', survives: { logout: 'yes', reboot: 'yes', crash: 'yes' } };
    expect(up).toMatchObject({ service });
    expect(serviceWarnings(up)).toEqual([]);
    expect(await cli.json(['machine', 'show', 'local'])).toMatchObject({ service });
    expect(await manager.logindCalls()).toContainEqual(expect.stringContaining('--property=Linger'));
    const [unit = ''] = units();
    expect(await manager.systemctl('is-enabled', unit)).toBe('enabled');
    const home = await agentHome(cli);
    const first = agentIn(home) ?? expect.fail('no agent');
    expect(await manager.systemctl('show', '--property=MainPID', '--value', unit)).toBe(String(first.pid));

    const pid = await startJob(cli, 'unit-job');
    expect(readFileSync(`/proc/${pid}/cgroup`, 'latin1')).toContain(unit);

    process.kill(first.pid, 'SIGKILL');
    const second = await successor(cli, home, first);
    await expectGoesOn(cli, 'unit-job', pid);

    await manager.systemctl('restart', unit);
    await successor(cli, home, second);
    await expectGoesOn(cli, 'unit-job', pid);

    await manager.systemctl('stop', unit);
    expect(agentIn(home)).toBeUndefined();
    expect(table.stat(pid)).toBeDefined();
    expect(await cli.json(['machine', 'up', 'local'])).toMatchObject({ already_up: false, service });
    await expectGoesOn(cli, 'unit-job', pid);

    expect(await cli.json(['machine', 'down', 'local'])).toMatchObject({
      stopped: true,
      running: ['unit-job'],
    });
    expect(units()).toEqual([]);
    expect(await manager.systemctl('show', '--property=LoadState', '--value', unit)).toBe('not-found');
    expect(table.stat(pid)).toBeDefined();
    await cli.json(['machine', 'up', 'local']);
    await expectEnds(cli, 'unit-job');
    expect(await cli.json(['machine', 'down', 'local', '--purge'])).toMatchObject({ purged: true });
    expect([units(), existsSync(home)]).toEqual([[], false]);
  });

  test('takes over from one that ran by itself, and is left for one again, without two at a time', async () => {
    const alone = cli.using([...manager.within, 'env', 'CODEX_REMOTE_AGENT_SERVICE=detached', cliProgram]);
    expect(await alone.json(['machine', 'up', 'local'])).toMatchObject({ service: { kind: 'detached' } });
    const home = await agentHome(cli);
    const pid = await startJob(cli, 'moves');
    const first = agentIn(home) ?? expect.fail('no agent');
    // The agent's start has the environment of the controller.
    await cli.json(['controller', 'stop']);
    expect(await cli.json(['machine', 'up', 'local'])).toMatchObject({ service: { kind: 'systemd' } });
    expect([table.isAlive(first), existsSync(join(home, 'keeper')), units().length]).toEqual([
      false,
      false,
      1,
    ]);
    await expectGoesOn(cli, 'moves', pid);
    await cli.json(['controller', 'stop']);
    expect(await alone.json(['machine', 'up', 'local'])).toMatchObject({ service: { kind: 'detached' } });
    expect([existsSync(join(home, 'keeper')), units()]).toEqual([true, []]);
    await expectGoesOn(cli, 'moves', pid);
    await expectEnds(cli, 'moves');
  });

  test('that does not start leaves no unit behind, and the one before it runs again', async () => {
    await cli.json(['machine', 'up', 'local']);
    const home = await agentHome(cli);
    const before = agentIn(home) ?? expect.fail('no agent');
    const pid = await startJob(cli, 'stays');
    const spoilt = await Release.build('0.1.1');
    try {
      await spoilt.changeAgent((text) => `if (process.argv[2] === 'daemon') process.exit(7);\n${text}`);
      const newer = cli.using([...manager.within, ...spoilt.program]);
      expect(await newer.json(['machine', 'up', 'local'], 1)).toMatchObject({
        error: { code: 'agent_start_failed', rolled_back: true },
      });
      await successor(newer, home, before);
      const unit = readFileSync(join(folder(), units()[0] ?? ''), 'utf8');
      expect(unit).toContain(JSON.parse(readFileSync(join(home, 'agent.json'), 'utf8')).bundle);
      await expectGoesOn(newer, 'stays', pid);
      await expectEnds(newer, 'stays');
      await newer.close();
    } finally {
      await spoilt.close();
    }
  });
});

/** Without the one about the place of these homes. */
function serviceWarnings({ warnings }: Record<string, unknown>): string[] {
  return (warnings as string[]).filter((warning) => !warning.includes('clean by age'));
}

function isZombie(pid: number): boolean {
  return table.stat(pid)?.state === 'Z';
}
