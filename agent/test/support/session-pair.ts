import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, WsTransport, webSocketLimits, zeroMask } from '@codex-remote/platform';
import { Session, type SessionOptions } from '@codex-remote/protocol/wire';
import { WebSocket, WebSocketServer } from 'ws';

export interface SessionPair {
  readonly controller: Session;
  readonly agent: Session;
  close(): Promise<void>;
}

/** Two sessions over `ws` on a real Unix socket, as agent and controller have them after the handshake. */
export async function sessionPair(accept: NonNullable<SessionOptions['accept']>): Promise<SessionPair> {
  const dir = mkdtempSync(join(tmpdir(), 'pair-'));
  const path = join(dir, 's');
  const server = createServer();
  const sockets = new WebSocketServer({ ...webSocketLimits, noServer: true });
  const arrived = Promise.withResolvers<WsTransport>();
  server.on('upgrade', (request, socket, head) => {
    sockets.handleUpgrade(request, socket, head, (ws) => arrived.resolve(new WsTransport(ws, socket)));
  });
  server.listen(path);
  await once(server, 'listening');
  const ws = new WebSocket(`ws+unix:${path}:/`, { ...webSocketLimits, generateMask: zeroMask });
  const dialled = new Promise<WsTransport>((resolve) => {
    ws.once('upgrade', (response) => resolve(new WsTransport(ws, response.socket)));
  });
  const agent = new Session({ transport: await dialled, side: 'agent', clock: systemClock, accept });
  const controller = new Session({
    transport: await arrived.promise,
    side: 'controller',
    clock: systemClock,
  });
  return {
    controller,
    agent,
    async close() {
      controller.end();
      await Promise.all([controller.closed, agent.closed]);
      await new Promise((resolve) => server.close(resolve));
      rmSync(dir, { recursive: true });
    },
  };
}
