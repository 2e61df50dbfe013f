import { createServer as createTcpServer } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { dial } from '../../../agent/src/connect/dial.ts';
import { makeTlsKey, pinOf } from '../../../controller/src/direct/self-signed.ts';
import { waitFor } from '../lab/wait-for.ts';

const never = new AbortController().signal;

/** What has the pinned key and answers the upgrade with anything but a WebSocket. */
describe('an agent whose upgrade is answered with', () => {
  let port: number;
  /** Where a redirect would lead. */
  let elsewhere: number;
  let followed = 0;
  let said = '';
  let answer = '';
  const tls = makeTlsKey(Date.now());
  const sockets = new Set<TLSSocket>();
  const trap = createTcpServer((socket) => {
    followed += 1;
    socket.destroy();
  });
  const server = createTlsServer({ key: tls.key, cert: tls.certificate }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (bytes) => {
      said += bytes.toString('latin1');
      if (said.endsWith('\r\n\r\n')) socket.write(answer.replaceAll('PORT', String(elsewhere)));
    });
  });

  const portOf = (address: ReturnType<typeof server.address>): number =>
    typeof address === 'object' && address ? address.port : 0;
  beforeEach(async () => {
    followed = 0;
    said = '';
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    await new Promise<void>((resolve) => trap.listen(0, '127.0.0.1', resolve));
    port = portOf(server.address());
    elsewhere = portOf(trap.address());
  });
  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    await new Promise((resolve) => trap.close(resolve));
  });

  const accept = 'Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=';
  const upgraded = 'Connection: Upgrade\r\nUpgrade: websocket';

  test.each([
    ['a redirect', 'HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:PORT/v1/agent\r\nContent-Length: 0'],
    [
      'a redirect to another scheme',
      'HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1:PORT/\r\nContent-Length: 0',
    ],
    ['a page', 'HTTP/1.1 200 OK\r\nContent-Length: 4'],
    ['a request for a password', 'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0'],
    ['the wrong key', `HTTP/1.1 101 Switching Protocols\r\n${upgraded}\r\n${accept}`],
    ['no HTTP', 'SSH-2.0-OpenSSH_9.9'],
  ])('%s follows nothing, sends nothing more and closes [row 86]', async (_what, text) => {
    answer = `${text}\r\n\r\nbody`;
    await expect(
      dial(
        {
          kind: 'wss',
          url: `wss://127.0.0.1:${port}`,
          certificates: [tls.certificate],
          spki_sha256: [pinOf(tls.certificate)],
        },
        never,
      ),
    ).rejects.toMatchObject({ code: 'connection_reset' });
    await waitFor('its end', () => sockets.size === 0);
    expect(said.match(/\r\n\r\n/g)).toHaveLength(1);
    expect(said).not.toContain('hello');
    expect(followed).toBe(0);
  });
});
