import { createServer as createHttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from 'node:tls';
import { systemClock, WsTransport, webSocketLimits, webSocketProtocol } from '@codex-remote/platform';
import type { Certificate } from '@codex-remote/test/lab';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { type DialTarget, dial } from '../../../agent/src/connect/dial.ts';
import { greetController } from '../../../agent/src/connect/handshake.ts';
import { greetAgent } from '../../../controller/src/gateway/handshake.ts';
import { Meeting } from './meeting.ts';

const never = new AbortController().signal;
const label = 'EXPORTER-codex-remote-session-auth';

/** A controller's TLS port as a later controller will have it: the agent's side of it is what is tested. */
describe('an agent that dials wss', () => {
  let meeting: Meeting;
  const closers: (() => void)[] = [];
  beforeEach(() => {
    meeting = new Meeting();
  });
  afterEach(async () => {
    for (const close of closers.splice(0)) close();
    await meeting.close();
  });

  async function serve(
    certificate: Certificate,
    options: TlsOptions = {},
    exporterOf = (socket: TLSSocket) => socket.exportKeyingMaterial(32, label, Buffer.alloc(0)),
  ): Promise<{ url: string; upgrades: () => number; results: Promise<unknown>[] }> {
    let upgrades = 0;
    const results: Promise<unknown>[] = [];
    const http = createHttpServer();
    const upgrader = new WebSocketServer({
      noServer: true,
      ...webSocketLimits,
      handleProtocols: () => webSocketProtocol,
    });
    http.on('upgrade', (request, socket, head) => {
      upgrades += 1;
      upgrader.handleUpgrade(request, socket, head, (ws) => {
        const greeting = greetAgent(new WsTransport(ws, socket), {
          identity: meeting.controller,
          clock: systemClock,
          transportKind: 'wss',
          exporter: exporterOf(socket as unknown as TLSSocket),
          keyOf: (machine) => meeting.enrolled.get(machine),
          admit: () => undefined,
        });
        results.push(greeting.catch((error: unknown) => error));
      });
    });
    const server = createTlsServer({ ...certificate, ...options }, (socket) => {
      socket.on('error', () => undefined);
      closers.push(() => socket.destroy());
      http.emit('connection', socket);
    });
    server.on('tlsClientError', () => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closers.push(() => server.close());
    return {
      url: `wss://127.0.0.1:${(server.address() as AddressInfo).port}`,
      upgrades: () => upgrades,
      results,
    };
  }

  test('proves itself over TLS 1.3, bound to this very connection', async () => {
    const certificate = meeting.certificate('controller');
    const { url, results } = await serve(certificate);
    const target: DialTarget = {
      kind: 'wss',
      url,
      certificates: [certificate.cert],
      spki_sha256: [certificate.pin],
    };
    const dialled = await dial(target, never);
    await greetController(dialled, meeting.self(), systemClock);
    expect(await results[0]).toMatchObject({ machine: 'box' });
    dialled.transport.destroy();
  });

  test('does not ask for anything where the key is not the pinned one, though the certificate is trusted [row 80]', async () => {
    const certificate = meeting.certificate('controller');
    const other = meeting.certificate('other');
    const { url, upgrades } = await serve(certificate);
    const target: DialTarget = {
      kind: 'wss',
      url,
      certificates: [certificate.cert],
      spki_sha256: [other.pin],
    };
    await expect(dial(target, never)).rejects.toMatchObject({ code: 'certificate_mismatch' });
    expect(upgrades()).toBe(0);
  });

  test('does not accept a certificate that it was not given', async () => {
    const certificate = meeting.certificate('controller');
    const other = meeting.certificate('other');
    const { url, upgrades } = await serve(other);
    const target: DialTarget = {
      kind: 'wss',
      url,
      certificates: [certificate.cert],
      spki_sha256: [certificate.pin, other.pin],
    };
    await expect(dial(target, never)).rejects.toMatchObject({ code: 'certificate_mismatch' });
    expect(upgrades()).toBe(0);
  });

  test('does not speak TLS 1.2', async () => {
    const certificate = meeting.certificate('controller');
    const { url } = await serve(certificate, { maxVersion: 'TLSv1.2' });
    const target: DialTarget = {
      kind: 'wss',
      url,
      certificates: [certificate.cert],
      spki_sha256: [certificate.pin],
    };
    await expect(dial(target, never)).rejects.toMatchObject({ code: 'connection_reset' });
  });

  test('a handshake that somebody relays to another connection is refused [row 82]', async () => {
    const certificate = meeting.certificate('controller');
    const { url, results } = await serve(certificate, {}, () => Buffer.alloc(32, 7));
    const target: DialTarget = {
      kind: 'wss',
      url,
      certificates: [certificate.cert],
      spki_sha256: [certificate.pin],
    };
    const dialled = await dial(target, never);
    await expect(greetController(dialled, meeting.self(), systemClock)).rejects.toMatchObject({
      code: 'unauthorized',
    });
    expect(await results[0]).toMatchObject({ code: 'unauthorized' });
  });

  test('ws without TLS is for loopback only', async () => {
    await expect(dial({ kind: 'ws', url: 'ws://192.0.2.1:80' }, never)).rejects.toMatchObject({
      code: 'no_reachable_endpoint',
    });
  });
});
