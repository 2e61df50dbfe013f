import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { systemClock } from '@codex-remote/platform';
import { SshLab } from '@codex-remote/test/lab';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { down, type Reach, up } from '../../src/bootstrap/index.ts';
import { connectTo, environmentOf, type Kind } from '../ssh/connect.ts';
import { UpLab } from './up-lab.ts';

const run = promisify(execFile);
let lab: SshLab;
const labs: UpLab[] = [];

beforeAll(async () => {
  lab = await SshLab.open();
});

afterEach(async () => {
  await Promise.all(labs.splice(0).map((each) => each.close()));
});

afterAll(() => lab.close());

async function upLab(): Promise<UpLab> {
  const each = await UpLab.open();
  labs.push(each);
  return each;
}

async function reachOf(block: string, transport: Kind): Promise<Reach> {
  return { kind: 'ssh', target: 'box', environment: environmentOf(await lab.writeConfig(block)), transport };
}

const order = ['resolve', 'connect', 'probe', 'upload', 'init', 'start', 'tunnel', 'dial_in', 'canary'];

describe.each<Kind>(['ssh2', 'system'])('machine up over %s', (kind) => {
  it('refuses a place that is removed at logout, before anything is put there [row 44]', async () => {
    const user = await lab.addUser();
    await lab.authorize(user, [lab.key]);
    const reach = await reachOf(lab.hostBlock('box', { user }), kind);
    const controller = await upLab();
    for (const agentHome of ['/run/user/1000/agent', '/var/run/agent']) {
      await expect(up(controller.context(reach, { agentHome }))).rejects.toMatchObject({
        code: 'state_unusable',
        message: expect.stringContaining(agentHome),
        details: { hint: expect.stringContaining('--agent-home') },
      });
    }
    expect(controller.ended('done')).not.toContain('upload');
  });

  it('puts runtime and agent on a bare machine, and finds them there the next time [row 44]', async () => {
    const user = await lab.addUser();
    await lab.authorize(user, [lab.key]);
    const reach = await reachOf(lab.hostBlock('box', { user }), kind);
    const controller = await upLab();
    const first = await up(controller.context(reach));
    expect(controller.ended('done')).toEqual(order);
    // The homes of these tests are where systems clean by age.
    const cleaned = expect.stringContaining(`${user.home}/.local/share/codex-remote-agent is in a folder`);
    expect(first).toMatchObject({ connection: 'tunnel', already_up: false, warnings: [cleaned] });
    expect((await stat(first.installed.base)).mode & 0o777).toBe(0o700);
    expect(first.stages.map((stage) => stage.name)).toEqual(order);
    expect(first.installed.base).toBe(`${user.home}/.local/share/codex-remote-agent`);
    expect(controller.heard.join('')).toContain('hello from the agent');

    const { node, agent } = first.installed;
    expect((await stat(node)).mode & 0o777).toBe(0o700);
    expect((await stat(node)).uid).toBe(user.uid);
    expect((await readFile(agent)).equals(await readFile(controller.bundle[0] ?? ''))).toBe(true);
    expect(await readFile(join(agent, '../shim.sh'), 'utf8')).toContain('a shim');
    expect((await run('sha256sum', [node])).stdout.slice(0, 16)).toBe(/node-([0-9a-f]{16})/.exec(node)?.[1]);
    expect(await readdir(join(first.installed.base, 'store'))).toHaveLength(2);

    const live = controller.tunnel?.transport;
    const again = await up(
      controller.context({ ...reach, ...(live === undefined ? {} : { live }) } as Reach),
    );
    expect(again.already_up).toBe(true);
    expect(again.stages.filter((stage) => stage.status === 'skipped').map((stage) => stage.name)).toEqual([
      'resolve',
      'connect',
      'upload',
    ]);
    expect(again.installed).toEqual(first.installed);

    const transport = await connectTo(
      'box',
      environmentOf(await lab.writeConfig(lab.hostBlock('box', { user }))),
      kind,
    );
    try {
      const context = { clock: systemClock, transport, installed: first.installed };
      const pid = Number(await readFile(join(first.installed.home, 'pid'), 'utf8'));
      expect(await down({ ...context, purge: false })).toEqual({ stopped: true, running: [], purged: false });
      await expect.poll(() => user.processes()).not.toContain(pid);
      await user.write('.local/share/codex-remote-agent/host/controller1/busy', '');
      await expect(down({ ...context, purge: true })).rejects.toMatchObject({ code: 'conflict' });
      expect((await stat(node)).isFile()).toBe(true);
      await rm(join(first.installed.home, 'busy'));
      expect(await down({ ...context, purge: true })).toEqual({ stopped: false, running: [], purged: true });
      await expect(stat(first.installed.base)).rejects.toMatchObject({ code: 'ENOENT' });
      expect(await down({ ...context, purge: true })).toEqual({ stopped: false, running: [], purged: true });
    } finally {
      await transport.close();
    }
  });

  it('bridges where the server refuses forwarding', async () => {
    const server = await lab.startServer({ config: ['DisableForwarding yes'] });
    await lab.writeKnownHosts([lab.hostLine(lab.server), lab.hostLine(server)]);
    const controller = await upLab();
    const result = await up(
      controller.context(await reachOf(lab.hostBlock('box', { server }), kind), {
        controllerId: `bridged${kind}`,
      }),
    );
    expect(result.connection).toBe('bridge');
    expect(controller.heard.join('')).toContain('hello from the agent');
  });

  it.each([
    ['a full disk', 'size=1m', 'disk_low'],
    ['a read-only file system', 'size=300m,ro', 'home_not_writable'],
    ['a file system without execution', 'size=300m,noexec', 'noexec_home'],
  ])('on %s fails as such, soon and with a way out [row 107]', async (what, options, code) => {
    const agentHome = await lab.mountFolder(lab.user, `${kind}-${what.replaceAll(' ', '-')}`, options);
    const controller = await upLab();
    const began = performance.now();
    const failure = await up(
      controller.context(await reachOf(lab.hostBlock('box'), kind), { agentHome }),
    ).catch((error: unknown) => error);
    expect(performance.now() - began).toBeLessThan(30_000);
    expect(failure).toMatchObject({
      code,
      details: {
        machine: 'box',
        hint: expect.stringContaining('--agent-home'),
        facts: { stage: 'upload', base: agentHome },
      },
    });
    expect(controller.ended('failed')).toEqual(['upload']);
    expect(await readdir(join(agentHome, 'store')).catch(() => [])).toEqual([]);
  });
});

describe('machine up', () => {
  it('of a home that belongs to somebody else says that it cannot be written', async () => {
    const controller = await upLab();
    const failure = up(
      controller.context(await reachOf(lab.hostBlock('box'), 'ssh2'), { agentHome: '/usr/codex-remote' }),
    );
    await expect(failure).rejects.toMatchObject({ code: 'home_not_writable' });
  });

  it.each([
    ['a processor', 'uname', 'case $1 in -m) echo riscv64 ;; *) echo Linux ;; esac'],
    ['a system', 'uname', 'case $1 in -m) echo x86_64 ;; *) echo SunOS ;; esac'],
    ['a user space', 'getconf', 'case $1 in LONG_BIT) echo 32 ;; *) echo glibc 2.36 ;; esac'],
  ])('with %s that we have no Node for is refused at once [row 107]', async (_what, tool, answer) => {
    const user = await lab.addUser();
    await lab.authorize(user, [lab.key]);
    await user.write(`fake/${tool}`, `#!/bin/sh\n${answer}\n`, 0o755);
    await user.write('.bashrc', `PATH=~/fake:$PATH\n`);
    const controller = await upLab();
    const failure = up(controller.context(await reachOf(lab.hostBlock('box', { user }), 'ssh2')));
    await expect(failure).rejects.toMatchObject({
      code: 'runtime_unsupported',
      details: { facts: { stage: 'upload' } },
    });
  });

  it('makes a fresh connection where the one that stands has died unnoticed', async () => {
    const server = await lab.startServer();
    await lab.writeKnownHosts([lab.hostLine(lab.server), lab.hostLine(server)]);
    const reach = await reachOf(lab.hostBlock('box', { server }), 'ssh2');
    const controller = await upLab();
    await up(controller.context(reach, { controllerId: 'undead1' }));
    const live = controller.tunnel?.transport;
    if (live === undefined || reach.kind !== 'ssh') throw new Error('no connection');
    const sessions = await server.sessions();
    for (const pid of sessions) process.kill(pid, 'SIGSTOP');
    try {
      const again = await up(controller.context({ ...reach, live }, { controllerId: 'undead1' }));
      expect(again.stages.find((stage) => stage.name === 'connect')?.status).toBe('done');
      expect(again.already_up).toBe(true);
    } finally {
      for (const pid of sessions) process.kill(pid, 'SIGCONT');
    }
  });

  it('to an account that runs no commands says so [row 105]', async () => {
    const user = await lab.addUser({ shell: '/usr/sbin/nologin' });
    await lab.authorize(user, [lab.key]);
    const controller = await upLab();
    const failure = up(controller.context(await reachOf(lab.hostBlock('box', { user }), 'ssh2')));
    await expect(failure).rejects.toMatchObject({
      code: 'bootstrap_failed',
      details: { hint: expect.stringContaining('login shell'), facts: { stage: 'probe' } },
    });
  });

  it.each(['refuses', 'babbles'])('with an agent that %s at init fails there [row 105]', async (machine) => {
    const controller = await upLab();
    const failure = up(controller.context(await reachOf(lab.hostBlock('box'), 'ssh2'), { machine }));
    await expect(failure).rejects.toMatchObject({
      code: machine === 'refuses' ? 'state_unusable' : 'bootstrap_failed',
      details: { machine, facts: { stage: 'init' } },
    });
  });

  it('brings this very host up without SSH', async () => {
    const base = await mkdtemp(join(tmpdir(), 'crb-'));
    const controller = await upLab();
    try {
      const reach: Reach = { kind: 'local', env: process.env };
      const context = controller.context(reach, {
        agentHome: base,
        endpoints: [{ kind: 'unix', path: join(base, 'x.sock') }],
        awaitDialIn: async () => undefined,
      });
      const result = await up(context);
      expect(result).toMatchObject({ connection: 'local', already_up: false });
      expect(controller.ended('skipped')).toEqual(['resolve', 'connect', 'tunnel']);
      process.kill(Number(await readFile(join(result.installed.home, 'pid'), 'utf8')));
    } finally {
      await rm(base, { recursive: true, force: true });
    }
  });
});
