import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Cli, freePort, SshLab, TcpProxy, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

interface Endpoint {
  readonly kind: string;
  readonly url?: string;
  readonly spki_sha256?: readonly string[];
}

/** A machine that was brought up over SSH and can dial the controller's port too, on loopback. */
describe('a machine with a direct connection', () => {
  let lab: SshLab;
  /** Between controller and sshd: the tunnel is lost with it. */
  let proxy: TcpProxy;
  let proxyPort: number;
  let cli: Cli;
  let port: number;

  beforeAll(async () => {
    lab = await SshLab.open();
    proxy = await TcpProxy.open(lab.server.port);
    proxyPort = proxy.port;
    cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: await lab.configThrough(proxy) });
    await cli.json(['machine', 'up', 'box']);
    port = await freePort();
    const url = `https://127.0.0.1:${port}`;
    await cli.json(['controller', 'start', '--listen', `127.0.0.1:${port}`, '--public-url', url]);
  }, 60_000);
  afterAll(async () => {
    await cli?.close();
    await proxy?.close();
    await lab?.close();
  });

  const status = () => cli.json(['controller', 'status']);
  const machine = () => cli.json(['machine', 'show', 'box']);
  const connected = (via: string) =>
    waitFor(
      `a ${via} connection`,
      async () => {
        const { connected, connection } = await machine();
        return connected === true && connection === via;
      },
      40_000,
    );
  async function endpoints(): Promise<readonly Endpoint[]> {
    const { agent_home } = await machine();
    const config = JSON.parse(await readFile(join(String(agent_home), 'config.json'), 'utf8')) as {
      endpoints: Endpoint[];
    };
    return config.endpoints;
  }
  async function killController(): Promise<void> {
    const pid = await cli.controllerPid();
    if (pid === undefined) throw new Error('no controller runs');
    process.kill(pid, 'SIGKILL');
  }

  test('is given the port beside its tunnel by the next machine up, and goes on by it when the tunnel is lost', {
    timeout: 120_000,
  }, async () => {
    expect(await endpoints()).toMatchObject([{ kind: 'tunnel' }]);
    expect(await cli.json(['machine', 'up', 'box'])).toMatchObject({
      connection: 'tunnel',
      already_up: true,
    });
    const { certificate_sha256 } = await status();
    expect(await endpoints()).toMatchObject([
      { kind: 'tunnel' },
      { kind: 'wss', url: `wss://127.0.0.1:${port}`, spki_sha256: [certificate_sha256] },
    ]);
    const job = await cli.json(['exec', 'start', '-m', 'box', '--cmd', 'echo out; sleep 5; exit 4']);
    await proxy.close();
    await connected('direct');
    const { stdout } = await cli.run(['exec', 'run', '-m', 'box', '--', 'echo', 'by', 'air']);
    expect(stdout.toString()).toContain('"line":"by air"');
    expect(await cli.json(['exec', 'wait', '--id', String(job.exec_id)], 4)).toMatchObject({
      status: 'finished',
      exit_code: 4,
      stdout_tail: 'out\n',
    });
    expect(await cli.json(['machine', 'check', 'box'])).toMatchObject({
      daemon_ok: true,
      ssh_ok: false,
      connection: 'direct',
      next_action: 'done',
    });
  });

  test('is followed over kill -9 of the controller, and over a rotation of its certificate', {
    timeout: 120_000,
  }, async () => {
    const count = 'for i in $(seq 120); do echo $i; sleep 0.1; done; exit 3';
    const { exec_id } = await cli.json(['exec', 'start', '-m', 'box', '--cmd', count]);
    const id = String(exec_id);
    const watch = cli.run(['exec', 'watch', '--id', id], { timeoutMs: 100_000 });
    const grown = (bytes: number) =>
      waitFor(
        `${bytes} bytes`,
        async () => Number((await cli.json(['exec', 'result', '--id', id])).stdout_bytes) > bytes,
        30_000,
      );
    await grown(20);
    await killController();
    await cli.json(['controller', 'start']);
    await connected('direct');

    const before = (await status()).certificate_sha256;
    const rotated = await cli.json(['controller', 'rotate-certificate', '--overlap', '1h']);
    const next = rotated.next_certificate_sha256;
    expect(rotated.certificate_sha256).toBe(before);
    expect(next).toMatch(/^[\w+/]{43}=$/);
    expect(next).not.toBe(before);
    const both = async () => (await endpoints())[1]?.spki_sha256;
    expect(await both()).toEqual([before, next]);
    const { connected_since } = await machine();
    const done = await cli.json(['controller', 'rotate-certificate', '--overlap', '0']);
    expect(done).toMatchObject({ certificate_sha256: next });
    expect(done.next_certificate_sha256).toBeUndefined();
    expect(await both()).toEqual([next]);
    expect((await machine()).connected_since).toBe(connected_since);

    await killController();
    await cli.json(['controller', 'start']);
    await connected('direct');
    expect((await status()).certificate_sha256).toBe(next);

    const followed = await watch;
    expect(followed.status).toBe(3);
    const records = followed.stdout
      .toString()
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const lines = records.filter(({ type }) => type === 'log').map(({ line }) => Number(line));
    expect(lines).toEqual(Array.from({ length: 120 }, (_, i) => i + 1));
  });

  test('a port that is taken leaves the controller at work; it listens once the port is free', {
    timeout: 90_000,
  }, async () => {
    await cli.json(['controller', 'stop']);
    const squatter = createServer().listen(port, '127.0.0.1');
    await new Promise((resolve) => squatter.once('listening', resolve));
    try {
      expect(await cli.json(['controller', 'start'])).toMatchObject({
        running: true,
        listen: `127.0.0.1:${port}`,
        listen_error: { code: 'listen_failed', message: expect.stringContaining('another process') },
      });
      const failed = await cli.json(['controller', 'start', '--listen', `127.0.0.1:${port}`], 1);
      expect(failed.error).toMatchObject({ code: 'listen_failed', reason: 'in_use' });
    } finally {
      squatter.close();
    }
    await waitFor('the port', async () => (await status()).listen_error === undefined, 40_000);
    await connected('direct');
  });

  test('that was away for all of a rotation is told what to do', { timeout: 90_000 }, async () => {
    const { agent_home } = await machine();
    const { pid } = JSON.parse(await readFile(join(String(agent_home), 'agent.json'), 'utf8'));
    const logged = () => readFile(join(String(agent_home), 'agent.log'), 'utf8');
    process.kill(pid, 'SIGSTOP');
    try {
      await waitFor('its absence', async () => (await machine()).connected === false, 30_000);
      await cli.json(['controller', 'rotate-certificate', '--overlap', '0']);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await waitFor('its refusal', async () => (await logged()).includes('certificate_mismatch'), 30_000);
    expect((await machine()).connected).toBe(false);
    // SSH leads there again: that gives it the key, and it runs on.
    proxy = await TcpProxy.open(lab.server.port, proxyPort);
    await cli.json(['machine', 'up', 'box']);
    const { certificate_sha256 } = await status();
    expect((await endpoints())[1]?.spki_sha256).toEqual([certificate_sha256]);
    expect(JSON.parse(await readFile(join(String(agent_home), 'agent.json'), 'utf8')).pid).toBe(pid);
  });

  test('that is taken down is not connected any more, whichever way it came', {
    timeout: 90_000,
  }, async () => {
    await proxy.close();
    await connected('direct');
    proxy = await TcpProxy.open(lab.server.port, proxyPort);
    expect(await cli.json(['machine', 'down', 'box'])).toMatchObject({ stopped: true });
    expect((await machine()).connected).toBe(false);
    expect((await status()).machines_connected).toBe(0);
  });
});

describe('a machine with a direct connection that is let go', () => {
  let lab: SshLab;
  let proxy: TcpProxy;
  let cli: Cli;

  beforeAll(async () => {
    lab = await SshLab.open();
    proxy = await TcpProxy.open(lab.server.port);
    cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: await lab.configThrough(proxy) });
    const port = await freePort();
    const url = `https://127.0.0.1:${port}`;
    await cli.json(['controller', 'start', '--listen', `127.0.0.1:${port}`, '--public-url', url]);
    await cli.json(['machine', 'up', 'box']);
  }, 90_000);
  afterAll(async () => {
    await cli?.close();
    await proxy?.close();
    await lab?.close();
  });

  test('loses its session at once, and is a stranger from then on [row 81]', {
    timeout: 90_000,
  }, async () => {
    const { agent_home } = await cli.json(['machine', 'show', 'box']);
    await proxy.close();
    await waitFor(
      'a direct connection',
      async () => (await cli.json(['machine', 'show', 'box'])).connection === 'direct',
      40_000,
    );
    const log = join(String(agent_home), 'agent.log');
    const lines = async () => (await readFile(log, 'utf8')).split('\n').filter(Boolean).length;
    const before = await lines();
    await cli.json(['machine', 'remove', 'box']);
    const told = await waitFor('the end and the refusal', async () => {
      const text = (await readFile(log, 'utf8')).split('\n').slice(before);
      const ended = text.findIndex((line) => line.includes('"disconnected"'));
      return ended >= 0 && text.slice(ended).some((line) => line.includes('"unauthorized"')) && text;
    });
    expect(told.join('\n')).toContain('unknown_machine');
    expect((await cli.json(['controller', 'status'])).machines_connected).toBe(0);
    const refusals = await waitFor('its refusal in the audit log', async () => {
      const { entries } = await cli.json(['audit', 'list', '--verb', 'machine.connect']);
      return (entries as unknown[]).length > 0 && entries;
    });
    expect(refusals).toMatchObject([
      { machine: 'box', result: 'refused', reason: 'unauthorized', source: '127.0.0.1' },
    ]);
  });
});
