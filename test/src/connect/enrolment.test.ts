import { existsSync, readFileSync, statSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import {
  type Identity,
  systemClock,
  WsTransport,
  webSocketLimits,
  webSocketProtocol,
} from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { type DialTarget, dial } from '../../../agent/src/connect/dial.ts';
import { type AgentSelf, greetController } from '../../../agent/src/connect/handshake.ts';
import { JoinTokenFile } from '../../../agent/src/connect/join-token-file.ts';
import { type JoinOutcome, JoinTokens } from '../../../controller/src/enrolment/join-tokens.ts';
import { greetAgent } from '../../../controller/src/gateway/handshake.ts';
import { LowdbRegistry } from '../../../controller/src/registry/lowdb-registry.ts';
import { Meeting } from './meeting.ts';

const never = new AbortController().signal;
const label = 'EXPORTER-codex-remote-session-auth';

/** A registry, its tokens, and a TLS port behind which the controller's half of the handshake waits. */
describe('an agent with a token', () => {
  let meeting: Meeting;
  let registry: LowdbRegistry;
  let tokens: JoinTokens;
  let target: DialTarget;
  let told: JoinOutcome[];
  /** What happens when an agent is in, in place of a session. */
  let beforeWelcome: () => void;
  const closers: (() => void)[] = [];

  beforeEach(async () => {
    meeting = new Meeting();
    told = [];
    beforeWelcome = () => undefined;
    registry = await LowdbRegistry.open(join(meeting.dir, 'registry.json'));
    await registry.add({ name: 'box', added_at: '2026-01-01T00:00:00.000Z', ssh_memory: {} });
    tokens = new JoinTokens({
      registry,
      clock: systemClock,
      log: pino({ level: 'silent' }),
      record: async (outcome) => {
        told.push(outcome);
      },
    });
    target = await listen();
  });
  afterEach(async () => {
    for (const close of closers.splice(0)) close();
    await meeting.close();
  });

  async function listen(): Promise<DialTarget> {
    const certificate = meeting.certificate('controller');
    const http = createHttpServer();
    const upgrader = new WebSocketServer({
      noServer: true,
      ...webSocketLimits,
      handleProtocols: () => webSocketProtocol,
    });
    http.on('upgrade', (request, socket, head) => {
      upgrader.handleUpgrade(request, socket, head, (ws) => {
        void greetAgent(new WsTransport(ws, socket), {
          identity: meeting.controller,
          clock: systemClock,
          transportKind: 'wss',
          exporter: (socket as unknown as TLSSocket).exportKeyingMaterial(32, label, Buffer.alloc(0)),
          keyOf: (machine) => {
            if (registry.get(machine)?.installation) beforeWelcome();
            return registry.get(machine)?.installation?.agent_key;
          },
          claim: (hello, token) =>
            tokens.claim({
              machine: hello.machine,
              agentKey: hello.agent_key,
              hostId: hello.host_id,
              token,
              peer: (socket as TLSSocket).remoteAddress ?? '',
              bound: true,
            }),
          admit: () => undefined,
        }).catch(() => undefined);
      });
    });
    const server = createTlsServer(certificate, (socket) => {
      socket.on('error', () => undefined);
      closers.push(() => socket.destroy());
      http.emit('connection', socket);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closers.push(() => server.close());
    return {
      kind: 'wss',
      url: `wss://127.0.0.1:${(server.address() as AddressInfo).port}`,
      certificates: [certificate.cert],
      spki_sha256: [certificate.pin],
    };
  }

  function agent(name: string, token?: string): AgentSelf & { readonly joinToken: JoinTokenFile } {
    const identity: Identity = meeting.identity(name);
    const joinToken = new JoinTokenFile(join(meeting.dir, `${name}.token`));
    if (token !== undefined) joinToken.write(token);
    return { ...meeting.self({}, identity), joinToken };
  }

  async function come(self: AgentSelf, by: DialTarget = target): Promise<true | RemoteError> {
    try {
      const dialled = await dial(by, never);
      await greetController(dialled, self, systemClock);
      dialled.transport.destroy();
      return true;
    } catch (error) {
      return RemoteError.from(error);
    }
  }

  test('is let in once, erases the token then, and is known by its key from there on', async () => {
    const { token } = await tokens.issue('box');
    const self = agent('first', token);
    const file = join(meeting.dir, 'first.token');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(await come(self)).toBe(true);
    expect(existsSync(file)).toBe(false);
    expect(await come(self)).toBe(true);
    expect(await come(agent('second', token))).toMatchObject({ code: 'unauthorized' });
    expect(told.map(({ result, peer }) => [result, peer])).toEqual([
      ['requested', '127.0.0.1'],
      ['enrolled', '127.0.0.1'],
      ['token_used', '127.0.0.1'],
    ]);
  });

  test('that did not hear the answer comes again with it, and is in [row 78]', async () => {
    const { token } = await tokens.issue('box');
    const self = agent('first', token);
    beforeWelcome = () => {
      beforeWelcome = () => undefined;
      for (const close of closers) close();
    };
    expect(await come(self)).toMatchObject({ code: 'connection_reset' });
    expect(JSON.parse(readFileSync(join(meeting.dir, 'registry.json'), 'utf8')).machines[0]).toMatchObject({
      installation: { agent_key: self.identity.publicKey },
    });
    expect(self.joinToken.read()).toBe(token);
    expect(await come(self, await listen())).toBe(true);
    expect(self.joinToken.read()).toBeUndefined();
    expect(told.map(({ result }) => result)).toEqual(['requested', 'enrolled', 'again']);
  });

  test('sends it over pinned TLS alone, never over a Unix socket', async () => {
    const { token } = await tokens.issue('box');
    await meeting.listen();
    const self = agent('first', token);
    expect(await come(self, { kind: 'unix', path: meeting.socket })).toMatchObject({ code: 'unauthorized' });
    expect(self.joinToken.read()).toBe(token);
    // One that is enrolled there has no business with tokens.
    const known = { ...meeting.self(), joinToken: self.joinToken };
    expect(await come(known, { kind: 'unix', path: meeting.socket })).toBe(true);
    expect(self.joinToken.read()).toBe(token);
    expect(told).toEqual([]);
  });

  test('of a machine that is removed never gets in again [row 81]', async () => {
    const { token } = await tokens.issue('box');
    const self = agent('first', token);
    expect(await come(self)).toBe(true);
    await registry.remove('box');
    self.joinToken.write(token);
    expect(await come(self)).toMatchObject({ code: 'unauthorized' });
    self.joinToken.erase();
    expect(await come(self)).toMatchObject({ code: 'unauthorized' });
    await registry.add({ name: 'box', added_at: '2026-01-01T00:00:00.000Z', ssh_memory: {} });
    expect(await come(self)).toMatchObject({ code: 'unauthorized' });
  });
});
