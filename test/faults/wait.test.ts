import { readFile } from 'node:fs/promises';
import { Cli, SshLab, TcpProxy, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** One wait over two machines, `local` and one behind SSH and a proxy, while what lies between comes and goes. */
describe('exec wait across machines', () => {
  let lab: SshLab;
  let proxy: TcpProxy;
  let cli: Cli;
  let count = 0;

  beforeAll(async () => {
    lab = await SshLab.open();
    proxy = await TcpProxy.open(lab.server.port);
    cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: await lab.configThrough(proxy) });
    await Promise.all(['box', 'local'].map((name) => cli.json(['machine', 'up', name])));
  });
  afterAll(async () => {
    proxy?.heal();
    await cli?.close();
    await proxy?.close();
    await lab?.close();
  });

  const start = async (machine: string, cmd: string): Promise<string> => {
    const id = `w${++count}`;
    await cli.json(['exec', 'start', '-m', machine, '--id', id, '--cmd', cmd]);
    return id;
  };
  /** Ends when the file `name` in the job's home is there. */
  const gated = (name: string, code: number) => `until [ -e ~/${name} ]; do sleep 0.05; done; exit ${code}`;
  const open = (machine: string, name: string) =>
    cli.lines(['exec', 'run', '-m', machine, '--cmd', `touch ~/${name}`]);
  const connected = async (machine: string, wanted: boolean) =>
    waitFor(
      `${machine} to be ${wanted ? 'back' : 'away'}`,
      async () => (await cli.json(['machine', 'show', machine])).connected === wanted,
      60_000,
    );
  const wait = (ids: readonly string[], ...more: string[]) =>
    cli.run(['exec', 'wait', ...ids.flatMap((id) => ['--id', id]), ...more], { timeoutMs: 100_000 });
  const answerOf = ({ stdout }: { stdout: Buffer }) =>
    JSON.parse(stdout.toString()) as Record<string, unknown>;

  test('--any is the code of the first, --all is 1 where one is not 0, and both answer at once afterwards', async () => {
    const ids = [await start('box', gated('any', 0)), await start('local', 'sleep 1; exit 7')];
    const any = await wait(ids, '--any');
    expect([any.status, answerOf(any)]).toMatchObject([
      7,
      { next_action: 'wait', execs: [{ machine: 'box', status: 'running' }, { exit_code: 7 }] },
    ]);
    const all = wait(ids, '--all');
    await open('box', 'any');
    expect((await all).status).toBe(1);
    const began = performance.now();
    expect((await wait(ids, '--all')).status).toBe(1);
    expect((await wait(ids, '--any')).status).toBe(7);
    expect(performance.now() - began).toBeLessThan(20_000);
  });

  test('--max-wait leaves with 75 and the line that waits on; that line gives the end', async () => {
    const ids = [await start('box', gated('max', 0)), await start('local', 'exit 0')];
    const left = await wait(ids, '--max-wait', '1s');
    const { next_command } = answerOf(left);
    expect(left.status).toBe(75);
    expect(next_command).toBe(`codex-remote exec wait --id ${ids[0]} --id ${ids[1]} --max-wait 50s`);
    const rest = cli.run(String(next_command).split(' ').slice(1));
    await open('box', 'max');
    expect((await rest).status).toBe(0);
  });

  test('the controller is killed under it: it goes on with the next one [row 10]', async () => {
    const ids = [await start('box', gated('killed', 0)), await start('local', gated('killed', 0))];
    const waiting = wait(ids, '--all');
    const pid = await cli.controllerPid();
    if (pid === undefined) throw new Error('no controller runs');
    process.kill(pid, 'SIGKILL');
    await waitFor('another controller', async () => {
      const now = await cli.controllerPid();
      return now !== undefined && now !== pid;
    });
    await connected('box', true);
    await Promise.all([open('box', 'killed'), open('local', 'killed')]);
    const ended = await waiting;
    expect([ended.status, answerOf(ended)]).toMatchObject([0, { next_action: 'done' }]);
  });

  test('a machine that is cut off ends its exec meanwhile: the wait ends when it is back [row 49]', {
    timeout: 180_000,
  }, async () => {
    const ids = [await start('box', 'sleep 6; exit 5'), await start('local', 'exit 0')];
    const waiting = wait(ids, '--all');
    proxy.blackhole();
    await connected('box', false);
    expect(await cli.json(['exec', 'result', '--id', String(ids[0])])).toMatchObject({
      status: 'running',
      machine_connected: false,
    });
    expect((await wait(ids, '--any')).status).toBe(0);
    proxy.heal();
    const ended = await waiting;
    expect([ended.status, answerOf(ended)]).toMatchObject([
      1,
      { execs: [{ exit_code: 5 }, { exit_code: 0 }] },
    ]);
  });

  test('its agent is killed and brought back: the wait ends with what the job recorded [row 1]', async () => {
    const ids = [await start('box', 'sleep 4; exit 6'), await start('local', 'exit 0')];
    const waiting = wait(ids, '--all');
    process.kill(await agentPid(), 'SIGKILL');
    await connected('box', false);
    await cli.json(['machine', 'up', 'box']);
    const ended = await waiting;
    expect([ended.status, answerOf(ended)]).toMatchObject([
      1,
      { execs: [{ exit_code: 6 }, { exit_code: 0 }] },
    ]);
  });

  /** The daemon of the lab's own user. */
  async function agentPid(): Promise<number> {
    for (const pid of await lab.user.processes()) {
      const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      if (/agent\.mjs\0daemon/.test(line)) return pid;
    }
    throw new Error('no agent runs');
  }
});
