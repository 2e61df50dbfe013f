import { createHash, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Cli, SshLab, TcpProxy, waitFor } from '@codex-remote/test/lab';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** Two heartbeats of the session; the limit is `silenceMs` of the wire. */
const silenceMs = 10_000;

describe('the network between SSH client and server breaks', () => {
  let lab: SshLab;
  let proxy: TcpProxy;
  let cli: Cli;

  beforeAll(async () => {
    lab = await SshLab.open();
    proxy = await TcpProxy.open(lab.server.port);
    cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: await lab.configThrough(proxy) });
    await cli.json(['machine', 'up', 'box']);
  });
  afterAll(async () => {
    proxy?.heal();
    await cli?.close();
    await proxy?.close();
    await lab?.close();
  });

  const counting = (count: number) => `for i in $(seq ${count}); do echo $i; sleep 0.05; done; exit 4`;
  const numbers = (lines: Record<string, unknown>[]) =>
    lines.filter((line) => line.type === 'log').map((line) => Number(line.line));

  test('a black hole is noticed within two heartbeats, and a follower resumes without gap or double [row 49]', {
    timeout: 180_000,
  }, async () => {
    const { exec_id } = await cli.json(['exec', 'start', '-m', 'box', '--cmd', counting(700)]);
    const follower = cli.lines(['exec', 'logs', '--id', String(exec_id), '--follow'], 0, {
      timeoutMs: 120_000,
    });
    await waitFor(
      'some output',
      async () => Number((await cli.json(['exec', 'result', '--id', String(exec_id)])).stdout_bytes) > 20,
    );
    proxy.blackhole();
    const began = performance.now();
    await waitFor(
      'the loss to be noticed',
      async () => (await cli.json(['machine', 'show', 'box'])).connected === false,
      30_000,
    );
    expect(performance.now() - began).toBeLessThan(silenceMs + 6_000);
    // Away is not dead.
    expect(await cli.json(['exec', 'result', '--id', String(exec_id)])).toMatchObject({
      status: 'running',
      machine_connected: false,
      as_of: expect.any(String),
    });
    proxy.heal();
    await waitFor(
      'the machine to be back',
      async () => (await cli.json(['machine', 'show', 'box'])).connected === true,
      60_000,
    );
    expect(numbers(await follower)).toEqual(Array.from({ length: 700 }, (_, i) => i + 1));
    await cli.json(['exec', 'wait', '--id', String(exec_id)], 4);
  });

  test('cut again and again in the middle of a log, the bytes are exact [row 50]', {
    timeout: 120_000,
  }, async () => {
    const { exec_id } = await cli.json([
      'exec',
      'start',
      '-m',
      'box',
      '--cmd',
      'seq 2000000; sleep 1; exit 4',
    ]);
    const reading = cli.run(
      ['exec', 'logs', '--id', String(exec_id), '--follow', '--raw', '--stream', 'stdout', '--from', '0'],
      { timeoutMs: 100_000 },
    );
    for (let cut = 0; cut < 3; cut++) {
      await waitFor(
        'the machine to be connected',
        async () => (await cli.json(['machine', 'show', 'box'])).connected === true,
        60_000,
      );
      proxy.reset();
    }
    const { stdout } = await reading;
    const expected = Array.from({ length: 2_000_000 }, (_, i) => `${i + 1}\n`).join('');
    expect(stdout.length).toBe(expected.length);
    expect(stdout.toString() === expected).toBe(true);
  });

  test('cut in the middle of a script of megabytes: it is sent again by itself, whole, and runs once [row 50]', async () => {
    const script = join(cli.home, 'large.sh');
    const filler = `# ${randomBytes(2 * 1024 * 1024).toString('hex')}\n`;
    await writeFile(script, `#!/bin/sh\necho started >> ~/large.starts\nsha256sum < "$0"\n${filler}exit 4\n`);
    const cut = proxy.cutAfter('up', 1_500_000);
    const run = cli.lines(['exec', 'run', '-m', 'box', '--script', script], 4, { timeoutMs: 90_000 });
    await cut;
    const hash = createHash('sha256')
      .update(await readFile(script))
      .digest('hex');
    const lines = await run;
    expect(lines.find(({ type }) => type === 'log')?.line).toContain(hash);
    expect(await readFile(join(lab.user.home, 'large.starts'), 'utf8')).toBe('started\n');
  });
});
