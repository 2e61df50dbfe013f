import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ProcessTable } from '@codex-remote/platform';
import { Cli, Release, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

interface AgentState {
  readonly pid: number;
  readonly version: string;
  readonly bundle: string;
}

describe('machine up with another release', () => {
  let cli: Cli;
  let newer: Release;
  let home: string;

  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
    home = String((await cli.json(['machine', 'show', 'local'])).agent_home);
    newer = await Release.build('0.1.1');
  });
  afterAll(async () => {
    writeFileSync(join(cli.home, 'over'), '');
    await cli?.using(newer.program).close();
    await newer?.close();
  });

  const agent = (): AgentState => JSON.parse(readFileSync(join(home, 'agent.json'), 'utf8')) as AgentState;
  /** Zombies do not count: who reaps an agent that left its starter is the system's business. */
  const isAlive = (pid = 0): boolean => !['', 'Z', 'X'].includes(new ProcessTable().stat(pid)?.state ?? '');

  /**
   * Counts lines of its own until the file `over` is there. It notes its pid at each start, and at its end the number of
   * lines: what is reported can be compared.
   */
  const counting = (id: string, code: number): string => {
    const truth = join(cli.home, id);
    return `echo $$ >>${truth}.starts; n=0; while [ ! -e ${join(cli.home, 'over')} ]; do n=$((n + 1)); echo ${id} $n; sleep 0.1; done; echo $n >${truth}.lines; exit ${code}`;
  };
  const noted = (id: string, what: 'starts' | 'lines'): number[] =>
    readFileSync(join(cli.home, `${id}.${what}`), 'utf8')
      .trim()
      .split('\n')
      .map(Number);

  test('[row 25] controller and agent are replaced while 50 execs run and are followed: none of them notices', async () => {
    const execs = Array.from({ length: 50 }, (_, i) => ({ id: `up-${i}`, code: i % 7 }));
    for (let i = 0; i < execs.length; i += 10)
      await Promise.all(
        execs
          .slice(i, i + 10)
          .map(({ id, code }) =>
            cli.json(['exec', 'start', '-m', 'local', '--id', id, '--cmd', counting(id, code)]),
          ),
      );
    const followers = execs.slice(0, 8).map(({ id }) => follow(cli, id));
    const waiting = cli.json(['exec', 'wait', '--all', ...execs.flatMap(({ id }) => ['--id', id])], 1);
    await waitFor('the followers to be at it', () => followers.every(({ lines }) => lines.length > 3));
    const [before, controller] = [agent(), await cli.controllerPid()];
    const pids = new Map(execs.map(({ id }) => [id, noted(id, 'starts')[0]]));

    const up = await cli.using(newer.program).json(['machine', 'up', 'local']);
    expect(up).toMatchObject({ already_up: false, agent_version: '0.1.1' });
    expect(agent()).toMatchObject({ version: '0.1.1' });
    expect(agent().bundle).not.toBe(before.bundle);
    expect(isAlive(before.pid)).toBe(false);
    expect(await cli.controllerPid()).not.toBe(controller);

    const seen = followers.map(({ lines }) => lines.length);
    await waitFor('every follower to go on', () =>
      followers.every(({ lines }, i) => lines.length > (seen[i] ?? 0) + 3),
    );
    const listed = await cli.json(['exec', 'list', '--status', 'running', '--limit', '100']);
    expect(listed.total).toBe(execs.length);
    expect(execs.filter(({ id }) => !isAlive(pids.get(id)))).toEqual([]);
    writeFileSync(join(cli.home, 'over'), '');

    await waiting;
    for (const { id, code } of execs) {
      expect(await cli.json(['exec', 'result', '--id', id])).toMatchObject({
        status: 'finished',
        reason: 'exited',
        exit_code: code,
      });
      expect(noted(id, 'starts')).toEqual([pids.get(id)]);
      const log = await cli.run(['exec', 'logs', '--id', id, '--raw', '--tail', '100000']);
      expect([log.status, log.stderr]).toEqual([0, '']);
      expect(log.stdout.toString()).toBe(
        linesOf(id, noted(id, 'lines')[0])
          .map((line) => `${line}\n`)
          .join(''),
      );
    }
    for (const [i, { lines, child }] of followers.entries()) {
      if (child.exitCode === null) await once(child, 'close');
      const { id = '' } = execs[i] ?? {};
      const records = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
      expect(records.filter(({ type }) => type === 'log').map(({ line }) => line)).toEqual(
        linesOf(id, noted(id, 'lines')[0]),
      );
      expect(records.at(-1)).toMatchObject({ type: 'end', complete: true });
    }
  });

  test('a release whose agent does not load leaves the one that serves alone', async () => {
    const before = agent();
    await newer.changeAgent((text) => `${text}\n// another\n`);
    const spoilt = await Release.build('0.1.2');
    try {
      await spoilt.changeAgent((text) => `if (process.argv[2] === 'daemon') process.exit(7);\n${text}`);
      const failure = await cli.using(spoilt.program).json(['machine', 'up', 'local'], 1);
      expect(failure).toMatchObject({
        error: {
          code: 'agent_start_failed',
          message: expect.stringContaining('the one before it (0.1.1) serves'),
          stage: 'start',
          rolled_back: true,
        },
      });
      expect(agent()).toEqual(before);
      expect(isAlive(before.pid)).toBe(true);
      expect(
        await cli.using(spoilt.program).json(['exec', 'run', '-m', 'local', '--brief', '--cmd', 'true']),
      ).toMatchObject({ exit_code: 0 });
    } finally {
      await spoilt.close();
    }
  });

  test('a release whose agent ends after it has taken over gives way to the one before it, and a job runs on', async () => {
    const before = agent();
    const spoilt = await Release.build('0.1.3');
    try {
      const user = cli.using(spoilt.program);
      await user.json([
        ...['exec', 'start', '-m', 'local', '--id', 'through-it', '--cmd'],
        `until [ -e ${join(cli.home, 'end')} ]; do sleep 0.1; done; exit 5`,
      ]);
      const pid = await waitFor(
        'its pid',
        async () => (await user.json(['exec', 'result', '--id', 'through-it'])).pid,
      );
      // The bundler breaks long lines also inside of strings.
      await spoilt.changeAgent((text) =>
        text.replace(/"a[^"]{1,20}started"/, (words) =>
          words.replaceAll('\\\n', '') === '"agent started"' ? `(process.exit(7),${words})` : words,
        ),
      );
      const failure = await user.json(['machine', 'up', 'local'], 1);
      expect(failure).toMatchObject({ error: { code: 'agent_start_failed', rolled_back: true } });
      expect(agent()).toMatchObject({ bundle: before.bundle, version: before.version });
      expect(agent().pid).not.toBe(before.pid);
      expect(await user.json(['exec', 'result', '--id', 'through-it'])).toMatchObject({
        status: 'running',
        pid,
      });
      writeFileSync(join(cli.home, 'end'), '');
      expect(await user.json(['exec', 'wait', '--id', 'through-it'], 5)).toMatchObject({ reason: 'exited' });
    } finally {
      await spoilt.close();
    }
  });

  test('the store of the machine keeps the version that runs and the one before it', async () => {
    const store = join(home, '../../store');
    const user = cli.using((await current()).program);
    const agents = (): string[] => readdirSync(store).filter((entry) => entry.startsWith('agent-'));
    const used: string[] = [];
    for (const version of ['one', 'two', 'three']) {
      await newer.changeAgent((text) => `${text}\n// ${version}\n`);
      // Entries that have just come may belong to another controller's bring-up.
      const longAgo = new Date(Date.now() - 2 * 60 * 60 * 1000);
      for (const entry of readdirSync(store)) utimesSync(join(store, entry), longAgo, longAgo);
      await user.json(['machine', 'up', 'local']);
      used.push(agent().bundle.split('/').at(-2) ?? '');
    }
    expect(agents().sort()).toEqual(used.slice(1).sort());
    expect(readdirSync(store).filter((entry) => entry.startsWith('node-'))).toHaveLength(1);
  });

  /** The newest release that was used here: an older one does not replace its controller. */
  async function current(): Promise<Release> {
    await cli.using(newer.program).json(['controller', 'stop']);
    return newer;
  }
});

interface Follower {
  readonly child: ChildProcessWithoutNullStreams;
  readonly lines: string[];
}

function follow(cli: Cli, id: string): Follower {
  const child = cli.spawn(['exec', 'logs', '--id', id, '--tail', '100000', '--follow']);
  const lines: string[] = [];
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts);
  });
  return { child, lines };
}

function linesOf(id: string, count = 0): string[] {
  return Array.from({ length: count }, (_, i) => `${id} ${i + 1}`);
}
