import { Cli, freePort, SshLab, TcpProxy, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** Two heartbeats of the session; the limit is `silenceMs` of the wire. */
const silenceMs = 10_000;

describe("the network between an agent and the controller's port breaks", () => {
  let lab: SshLab;
  /** Between the agent and the port. */
  let proxy: TcpProxy;
  let cli: Cli;

  beforeAll(async () => {
    lab = await SshLab.open();
    const ssh = await TcpProxy.open(lab.server.port);
    const port = await freePort();
    proxy = await TcpProxy.open(port);
    cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: await lab.configThrough(ssh) });
    const url = `https://127.0.0.1:${proxy.port}`;
    await cli.json(['controller', 'start', '--listen', `127.0.0.1:${port}`, '--public-url', url]);
    await cli.json(['machine', 'up', 'box']);
    // Without SSH there is this way alone.
    await ssh.close();
    await connected();
  }, 90_000);
  afterAll(async () => {
    proxy?.heal();
    await cli?.close();
    await proxy?.close();
    await lab?.close();
  });

  const connected = () =>
    waitFor(
      'a direct connection',
      async () => {
        const { connected, connection } = await cli.json(['machine', 'show', 'box']);
        return connected === true && connection === 'direct';
      },
      60_000,
    );

  test('cut and corrupted in the middle of a log, the bytes are exact [row 50]', {
    timeout: 120_000,
  }, async () => {
    const { exec_id } = await cli.json([
      'exec',
      'start',
      '-m',
      'box',
      '--cmd',
      'seq 1000000; sleep 1; exit 4',
    ]);
    const reading = cli.run(
      ['exec', 'logs', '--id', String(exec_id), '--follow', '--raw', '--stream', 'stdout', '--from', '0'],
      { timeoutMs: 100_000 },
    );
    proxy.reset();
    await connected();
    const broken = proxy.accepted;
    proxy.corruptAfter('up', 10);
    await waitFor('another connection', () => proxy.accepted > broken, 30_000);
    proxy.heal();
    await connected();
    proxy.reset();
    const { stdout } = await reading;
    const expected = Array.from({ length: 1_000_000 }, (_, i) => `${i + 1}\n`).join('');
    expect(stdout.length).toBe(expected.length);
    expect(stdout.toString() === expected).toBe(true);
    await cli.json(['exec', 'wait', '--id', String(exec_id)], 4);
  });

  test('a black hole is noticed within two heartbeats, and the machine comes back by itself [row 49]', {
    timeout: 120_000,
  }, async () => {
    proxy.blackhole();
    const began = performance.now();
    await waitFor(
      'the loss to be noticed',
      async () => (await cli.json(['machine', 'show', 'box'])).connected === false,
      30_000,
    );
    expect(performance.now() - began).toBeLessThan(silenceMs + 6_000);
    proxy.heal();
    await connected();
    await cli.run(['exec', 'run', '-m', 'box', '--', 'true']).then(({ status }) => expect(status).toBe(0));
  });
});
