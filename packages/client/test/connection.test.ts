import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Connection } from '../src/connection.ts';

let dir: string;
let server: Server;
let peers: Socket[];
let taken: number;
let starts: number;
let connection: Connection;

/** A controller in its last moment: it takes a connection and drops it. The one that is started after it answers. */
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'crn-'));
  taken = 0;
  peers = [];
  starts = 0;
  const socket = join(dir, 'api.sock');
  server = createServer((peer) => {
    taken += 1;
    peers.push(peer.resume());
    peer.on('error', () => undefined);
    if (starts === 0) peer.destroy();
    else peer.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}');
  }).listen(socket);
  await once(server, 'listening');
  connection = new Connection({
    socket,
    start: async () => {
      starts += 1;
    },
  });
});
afterEach(async () => {
  for (const peer of peers) peer.destroy();
  await new Promise((resolve) => server.close(resolve));
  rmSync(dir, { recursive: true });
});

describe('a controller that dies with the connection', () => {
  it('is started again for what only asks, and asked again', async () => {
    expect(await connection.json({ method: 'GET', path: '/v1/execs' })).toEqual({});
    expect([taken, starts]).toEqual([2, 1]);
  });

  it('is not sent again what may have been done', async () => {
    await expect(connection.json({ method: 'POST', path: '/v1/execs' })).rejects.toMatchObject({
      code: 'controller_unreachable',
      details: { sent: 'unknown' },
    });
    expect([taken, starts]).toEqual([1, 0]);
  });
});
