import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { BlackholePort, Cli, freePort, SshLab } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const run = promisify(execFile);

/** What goes wrong on the way to a machine: each its own code and hint, and nothing stored. */
describe('machine up that cannot work says why and what to do', () => {
  let lab: SshLab;
  const clis: Cli[] = [];

  beforeAll(async () => {
    lab = await SshLab.open();
  });
  afterAll(async () => {
    for (const cli of clis) await cli.close();
    await lab?.close();
  });

  async function up(
    config: string,
    args: readonly string[] = [],
  ): Promise<{ code: string; error: Record<string, unknown>; cli: Cli; stderr: string }> {
    const cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: config });
    clis.push(cli);
    const result = await cli.run(['machine', 'up', 'box', ...args]);
    expect(result.status).toBe(1);
    const answer = JSON.parse(result.stdout.toString()) as {
      ok: boolean;
      error: Record<string, unknown>;
      next_action: string;
    };
    expect(answer).toMatchObject({ ok: false, next_action: 'fix-config' });
    expect(answer.error.hint).toEqual(expect.any(String));
    expect(result.stderr.trim().split('\n')).toHaveLength(1);
    return { code: String(answer.error.code), error: answer.error, cli, stderr: result.stderr };
  }

  test('an unknown host key is refused, its fingerprint shown, nothing stored; accepting it works', async () => {
    await lab.writeKnownHosts([]);
    const config = await lab.writeConfig(lab.hostBlock('box'));
    const { code, error, cli } = await up(config);
    expect(code).toBe('host_key_unknown');
    const shown = /SHA256:[A-Za-z0-9+/]{43}/.exec(JSON.stringify(error))?.[0];
    expect(shown).toBeDefined();
    const real = await Promise.all(
      lab.server.hostKeys.map((key) => run('ssh-keygen', ['-lf', `${key.path}.pub`])),
    );
    expect(real.map(({ stdout }) => stdout.split(' ')[1])).toContain(shown);
    expect(await lab.readKnownHosts()).toBe('');
    expect(await cli.json(['machine', 'list'])).toMatchObject({ machines: [] });
    await cli.json(['machine', 'up', 'box', '--accept-host-key', String(shown)]);
    expect(await lab.readKnownHosts()).toContain(`[127.0.0.1]:${lab.server.port}`);
    const { entries } = await cli.json(['audit', 'list', '--verb', 'ssh.host_key']);
    expect(entries).toMatchObject([
      { machine: 'box', result: 'accepted', facts: { fingerprint: shown, port: lab.server.port } },
      { machine: 'box', result: 'refused', reason: 'host_key_unknown', facts: { fingerprint: shown } },
    ]);
    await cli.json(['machine', 'down', 'box', '--purge']);
    await lab.writeKnownHosts([lab.hostLine(lab.server)]);
  });

  test('a changed host key is refused [row 104]', async () => {
    const other = await lab.makeKey('imposter');
    await lab.writeKnownHosts([`[127.0.0.1]:${lab.server.port} ${other.publicLine}`]);
    const before = await lab.readKnownHosts();
    const { code, cli } = await up(await lab.writeConfig(lab.hostBlock('box')));
    expect(code).toBe('host_key_changed');
    const { entries } = await cli.json(['audit', 'list', '--verb', 'ssh.host_key']);
    expect(entries).toMatchObject([{ machine: 'box', result: 'refused', reason: 'host_key_changed' }]);
    expect(await lab.readKnownHosts()).toBe(before);
    await lab.writeKnownHosts([lab.hostLine(lab.server)]);
  });

  test('a key that the server does not know', async () => {
    const stranger = await lab.makeKey('stranger');
    const { code, error } = await up(await lab.writeConfig(lab.hostBlock('box', { key: stranger })));
    expect(code).toBe('ssh_auth_failed');
    expect(error.hint).toMatch(/ssh-add/);
  });

  test('a closed port', async () => {
    const port = await freePort();
    const { code } = await up(await lab.writeConfig(`Host box\n  HostName 127.0.0.1\n  Port ${port}`));
    expect(code).toBe('ssh_unreachable');
  });

  test('a port that drops everything is given up once our limit is over', async () => {
    const hole = await BlackholePort.open();
    try {
      const began = performance.now();
      const { code } = await up(await lab.writeConfig(`Host box\n  HostName 127.0.0.1\n  Port ${hole.port}`));
      expect(code).toBe('ssh_unreachable');
      expect(performance.now() - began).toBeLessThan(20_000);
    } finally {
      await hole.close();
    }
  });

  test('a full disk there', async () => {
    const base = await lab.mountFolder(lab.user, 'full', 'size=1m');
    const { code } = await up(await lab.writeConfig(lab.hostBlock('box')), [
      '--agent-home',
      join(base, 'agent'),
    ]);
    expect(code).toBe('disk_low');
  });

  test('a read-only home there', async () => {
    const base = await lab.mountFolder(lab.user, 'readonly', 'size=300m,ro');
    const { code } = await up(await lab.writeConfig(lab.hostBlock('box')), [
      '--agent-home',
      join(base, 'agent'),
    ]);
    expect(code).toBe('home_not_writable');
  });
});

describe('other ways to a machine', () => {
  let lab: SshLab;
  const clis: Cli[] = [];

  beforeAll(async () => {
    lab = await SshLab.open();
  });
  afterAll(async () => {
    for (const cli of clis) await cli.close();
    await lab?.close();
  });

  async function roundTrip(
    config: string,
    env: Record<string, string> = {},
    args: readonly string[] = [],
  ): Promise<Record<string, unknown>> {
    const cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: config, ...env });
    clis.push(cli);
    const up = await cli.json(['machine', 'up', 'box', ...args]);
    const lines = await cli.lines(['exec', 'run', '-m', 'box', '--', 'id', '-un']);
    expect(lines.find((line) => line.type === 'log')).toMatchObject({ line: lab.user.name });
    return up;
  }

  test('through a jump host', async () => {
    const jump = await lab.startServer();
    await lab.writeKnownHosts([lab.hostLine(lab.server), lab.hostLine(jump)]);
    const config = await lab.writeConfig(
      lab.hostBlock('jump', { server: jump }),
      lab.hostBlock('box', { more: ['ProxyJump jump'] }),
    );
    await roundTrip(config);
  });

  test('with a key that only ssh-agent holds, and hashed known_hosts', async () => {
    const agent = await lab.startAgent([lab.key]);
    await lab.writeKnownHosts([lab.hostLine(lab.server)], { hashed: true });
    await roundTrip(await lab.writeConfig(lab.hostBlock('box', { key: null })), {
      SSH_AUTH_SOCK: agent.socket,
    });
    await lab.writeKnownHosts([lab.hostLine(lab.server)]);
  });

  test('where the server refuses forwarding, over the bridge', async () => {
    const strict = await lab.startServer({ config: ['DisableForwarding yes'] });
    await lab.writeKnownHosts([lab.hostLine(lab.server), lab.hostLine(strict)]);
    const up = await roundTrip(await lab.writeConfig(lab.hostBlock('box', { server: strict })));
    expect(up.connection).toBe('bridge');
  });

  test('two machine up at once do not harm each other [row 106]', async () => {
    const cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: await lab.writeConfig(lab.hostBlock('box')) });
    clis.push(cli);
    const ups = await Promise.all([cli.json(['machine', 'up', 'box']), cli.json(['machine', 'up', 'box'])]);
    for (const up of ups) expect(up).toMatchObject({ ok: true, machine: 'box' });
    await cli.lines(['exec', 'run', '-m', 'box', '--', 'true']);
  });
});
