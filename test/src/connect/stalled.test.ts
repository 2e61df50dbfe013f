import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { systemClock, WsTransport, webSocketLimits } from '@codex-remote/platform';
import { defaultWireLimits, encodeFrame, encodeMessage, Session } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';

const limits = { ...defaultWireLimits, heartbeatMs: 300, silenceMs: 600, stalledMs: 1_500 };
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'stalled-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

test('a peer that sends pings and reads nothing from its socket is given up, not waited for [row 58]', async () => {
  const server = createServer();
  const sockets = new WebSocketServer({ ...webSocketLimits, noServer: true });
  const arrived = Promise.withResolvers<Session>();
  server.on('upgrade', (request, socket, head) => {
    sockets.handleUpgrade(request, socket, head, (ws) => {
      arrived.resolve(
        new Session({
          transport: new WsTransport(ws, socket),
          side: 'agent',
          clock: systemClock,
          limits,
          accept: async (channel) => {
            for (;;) await channel.write(new Uint8Array(64 * 1024));
          },
        }),
      );
    });
  });
  server.listen(join(dir, 's'));
  await once(server, 'listening');
  const peer = new WebSocket(`ws+unix:${join(dir, 's')}:/`, webSocketLimits);
  peer.on('error', () => undefined);
  let socket: Duplex | undefined;
  peer.once('upgrade', (response) => {
    socket = response.socket;
  });
  await once(peer, 'open');
  const session = await arrived.promise;
  // The application has stopped reading; its timers go on.
  socket?.pause();
  peer.send(encodeFrame({ kind: 'open', channel: 1, payload: encodeMessage({ verb: 'read', params: {} }) }));
  peer.send(encodeFrame({ kind: 'window', channel: 1, credit: 4 * 1024 * 1024 }));
  const pings = setInterval(() => peer.send(encodeFrame({ kind: 'ping', nonce: 1n })), 100);
  const began = performance.now();
  try {
    const cause = await session.closed;
    expect(cause.code).toBe('peer_silent');
    expect(cause.details.facts?.buffered_bytes).toBeGreaterThan(0);
    expect(performance.now() - began).toBeGreaterThanOrEqual(limits.stalledMs);
  } finally {
    clearInterval(pings);
    peer.terminate();
    await new Promise((resolve) => server.close(resolve));
  }
});
