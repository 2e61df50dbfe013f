import { spawnSync } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Cli, cliProgram, needs, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

/**
 * Everything runs without the right to pass over permissions, as it does for users who are not root: setpriv(1) takes it
 * away from the caller, and controller and agent inherit that.
 */
const asUser = ['setpriv', '--bounding-set=-dac_override,-dac_read_search', '--inh-caps=-all'] as const;

describe('a state folder that loses its permissions', () => {
  let cli: Cli;
  let home: string;

  beforeEach((context) => needs(context, 'root'));
  beforeAll(async () => {
    cli = await Cli.open();
    expect(run(['machine', 'up', 'local']).status).toBe(0);
    home = run(['machine', 'show', 'local']).answer.agent_home;
  });
  afterAll(() => cli?.close());

  function run(args: readonly string[]) {
    const [setpriv, ...rest] = asUser;
    const child = spawnSync(setpriv, [...rest, cliProgram, ...args], {
      env: cli.env,
      cwd: '/',
      encoding: 'utf8',
      timeout: 60_000,
    });
    return { status: child.status, answer: JSON.parse(child.stdout || 'null') };
  }
  async function shut<T>(folder: string, work: () => T | Promise<T>): Promise<T> {
    const { mode } = statSync(folder);
    chmodSync(folder, 0);
    try {
      return await work();
    } finally {
      chmodSync(folder, mode);
    }
  }
  const refusal = (folder: string) => ({
    ok: false,
    error: {
      code: 'state_unusable',
      message: expect.stringContaining(folder),
      hint: expect.stringContaining('chmod'),
    },
  });
  const agentPid = () => Number(JSON.parse(readFileSync(join(home, 'agent.json'), 'utf8')).pid);

  test("the agent's: new execs are refused, the job's state does not change, and its code is told afterwards [row 48]", async () => {
    const go = join(cli.home, 'go');
    const truth = join(cli.home, 'truth');
    const cmd = `while [ ! -e ${go} ]; do sleep 0.02; done; echo ran >>${truth}; exit 7`;
    const started = run(['exec', 'start', '-m', 'local', '--id', 'shut', '--cmd', cmd]);
    expect(started.answer).toMatchObject({ status: 'running' });
    const pid = agentPid();
    await shut(home, async () => {
      const refused = run(['exec', 'start', '-m', 'local', '--cmd', 'true']);
      expect([refused.status, refused.answer]).toMatchObject([1, { error: { code: 'state_unusable' } }]);
      writeFileSync(go, '');
      await waitFor('the job', () => readFileSync(truth, 'utf8') === 'ran\n');
      // Nobody can read how it ended: that is said, and nobody calls it lost.
      const asked = run(['exec', 'result', '--id', 'shut']).answer;
      if (asked.ok) expect(asked.status).toBe('running');
      else expect(asked.error.code).toBe('state_unusable');
    });
    expect(run(['exec', 'wait', '--id', 'shut'])).toMatchObject({
      status: 7,
      answer: { status: 'finished', exit_code: 7 },
    });
    expect(agentPid()).toBe(pid);
  });

  test("the agent's, when it is brought up: refused with the folder, and no other one is taken [row 48]", async () => {
    run(['machine', 'down', 'local']);
    const before = readdirSync(join(home, '..'));
    await shut(home, () => {
      const refused = run(['machine', 'up', 'local']);
      expect([refused.status, refused.answer]).toMatchObject([1, refusal(home)]);
    });
    expect(readdirSync(join(home, '..'))).toEqual(before);
    expect(run(['machine', 'up', 'local']).answer).toMatchObject({ ok: true });
  });

  test.each(['state', 'config', 'run'])(
    "the controller's %s: refused with the folder, not taken for a sandbox [row 48]",
    async (name) => {
      const folder = join(cli.home, name);
      run(['controller', 'stop']);
      await shut(folder, () => {
        const refused = run(['controller', 'start']);
        expect([refused.status, refused.answer]).toMatchObject([1, refusal(folder)]);
      });
      expect(run(['controller', 'start']).answer).toMatchObject({ ok: true });
    },
  );
});
