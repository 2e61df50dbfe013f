import { once } from 'node:events';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { ProcessTable } from '@codex-remote/platform';
import { Cli, cliProgram, freePort, needs, waitFor } from '@codex-remote/test/lab';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const processes = new ProcessTable();

describe('controller serve', () => {
  let cli: Cli;
  beforeEach(async () => {
    cli = await Cli.open();
  });
  afterEach(() => cli.close());

  const status = () => cli.json(['controller', 'status']);

  /** A controller in the foreground, once it has said that it serves. */
  async function serve(...flags: string[]) {
    const child = cli.spawn(['controller', 'serve', ...flags]);
    let said = '';
    child.stdout.on('data', (bytes: Buffer) => {
      said += bytes.toString();
    });
    const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
    await waitFor('its first line', () => said.includes('\n'));
    return { child, ended, first: JSON.parse(said) as Record<string, unknown>, said: () => said };
  }

  test('is the controller in its own process, listens, and ends cleanly by SIGTERM', async () => {
    const listen = `127.0.0.1:${await freePort()}`;
    const { child, ended, first, said } = await serve(
      '--listen',
      listen,
      '--public-url',
      `https://${listen}`,
    );
    expect(first).toMatchObject({ ok: true, running: true, pid: child.pid, listen });
    expect(await status()).toMatchObject({
      running: true,
      pid: child.pid,
      listen,
      public_url: `https://${listen}`,
      certificate_sha256: first.certificate_sha256,
      certificate_expires_at: expect.any(String),
    });
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    expect(said().trim().split('\n')).toHaveLength(1);
    // What it was told holds for the one that starts by itself.
    expect(await cli.json(['controller', 'start'])).toMatchObject({ listen });
  });

  test('does not come beside another, and follows it with --replace', async () => {
    await cli.json(['controller', 'start']);
    expect((await cli.json(['controller', 'serve'], 1)).error).toMatchObject({ code: 'already_running' });
    const before = processes.stat(Number(await cli.controllerPid()));
    const { child, first } = await serve('--replace');
    expect(first.pid).toBe(child.pid);
    expect((await status()).pid).toBe(child.pid);
    expect(before && processes.isAlive(before)).toBe(false);
  });

  test('an address that is not to be had ends it with what to do; nonsense is wrong usage', async () => {
    const squatter = createServer().listen(0, '127.0.0.1');
    await once(squatter, 'listening');
    const address = squatter.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    try {
      expect(
        (await cli.json(['controller', 'serve', '--listen', `127.0.0.1:${port}`], 1)).error,
      ).toMatchObject({
        code: 'listen_failed',
        reason: 'in_use',
        hint: expect.stringContaining(`${port}`),
      });
    } finally {
      squatter.close();
    }
    for (const wrong of [
      ['--listen', '7443'],
      ['--public-url', 'http://x'],
      ['--no-listen', '--listen', '127.0.0.1:1'],
    ])
      expect((await cli.json(['controller', 'serve', ...wrong], 2)).error).toMatchObject({ code: 'usage' });
    expect((await status()).running).toBe(false);
  });

  test('a port that the system keeps for root is said to be so', async (context) => {
    needs(context, 'root');
    // Root without the right to it is like everybody else.
    const plain = cli.using(['setpriv', '--bounding-set=-net_bind_service', '--inh-caps=-all', cliProgram]);
    for (const verb of ['serve', 'start'])
      expect((await plain.json(['controller', verb, '--listen', '127.0.0.1:443'], 1)).error).toMatchObject({
        code: 'listen_failed',
        reason: 'denied',
        message: expect.stringContaining('443'),
        hint: expect.stringContaining('1024'),
      });
    expect(await status()).toMatchObject({ running: true });
    expect((await status()).listen).toBeUndefined();
  });

  test('its Unix socket leads to no gateway, its port to nothing without a token', async () => {
    const listen = `127.0.0.1:${await freePort()}`;
    await cli.json(['controller', 'start', '--listen', listen, '--public-url', `https://${listen}`]);
    const upgraded = await new Promise<number | undefined>((resolve, reject) => {
      const call = request({
        socketPath: join(cli.home, 'run/api.sock'),
        path: '/v1/agent',
        headers: {
          connection: 'Upgrade',
          upgrade: 'websocket',
          'sec-websocket-version': '13',
          'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
          'sec-websocket-protocol': 'codex-remote.v1',
        },
      });
      call.on('upgrade', (_response, socket) => {
        socket.destroy();
        resolve(101);
      });
      call.on('response', (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      call.on('error', reject);
      call.end();
    });
    expect(upgraded).toBe(404);

    for (const ask of ['GET /v1/machines', 'POST /v1/controller/stop', 'GET /v1/controller']) {
      const socket = connect({
        host: '127.0.0.1',
        port: Number(listen.split(':')[1]),
        rejectUnauthorized: false,
      });
      let text = '';
      socket.on('data', (bytes) => {
        text += bytes.toString();
      });
      socket.on('error', () => undefined);
      await once(socket, 'secureConnect');
      socket.write(
        `${ask} HTTP/1.1\r\nHost: ${listen}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}`,
      );
      await once(socket, 'close');
      expect(text).toMatch(/^HTTP\/1\.1 401 /);
      expect(text).not.toContain('x-codex-remote-build');
    }
    expect((await status()).running).toBe(true);
    await cli.json(['controller', 'start', '--no-listen']);
    expect((await status()).listen).toBeUndefined();
    const refused = connect({ host: '127.0.0.1', port: Number(listen.split(':')[1]) });
    await expect(once(refused, 'secureConnect')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});
