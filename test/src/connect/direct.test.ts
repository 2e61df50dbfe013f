import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { systemClock } from '@codex-remote/platform';
import { call, defaultWireLimits, RemoteError, Session } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Dialled, type DialTarget, dial } from '../../../agent/src/connect/dial.ts';
import { type AgentSelf, greetController } from '../../../agent/src/connect/handshake.ts';
import { makeTlsKey, pinOf } from '../../../controller/src/direct/self-signed.ts';
import { proven, provenWithinMs } from '../../../controller/src/gateway/admission.ts';
import { FakeClock } from '../../../packages/protocol/test/support/fake-clock.ts';
import { waitFor } from '../lab/wait-for.ts';
import { DirectPort, untilClosed } from './direct-port.ts';
import { Meeting } from './meeting.ts';

const run = promisify(execFile);
const never = new AbortController().signal;

const upgrade = (path: string, ...headers: string[]): string =>
  [
    `GET ${path} HTTP/1.1`,
    'Host: x',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ...headers,
    '',
    '',
  ].join('\r\n');
const ours = 'Sec-WebSocket-Protocol: codex-remote.v1';

/** A real agent's dial and handshake against the controller's real port, on loopback. */
describe("the controller's port for the network", () => {
  let meeting: Meeting;
  let port: DirectPort;
  const sessions: Session[] = [];
  beforeEach(async () => {
    meeting = new Meeting();
    port = await DirectPort.open(meeting, { clock: systemClock });
  });
  afterEach(async () => {
    for (const session of sessions.splice(0)) session.end();
    port.close();
    await meeting.close();
  });

  async function meet(
    target: DialTarget = port.target(),
    self: AgentSelf = meeting.self(),
  ): Promise<Session> {
    const dialled = await dial(target, never);
    await greetController(dialled, self, systemClock);
    const session = new Session({
      transport: dialled.transport,
      side: 'agent',
      clock: systemClock,
      accept: async (channel, verb) => {
        await channel.send({ verb });
        channel.end();
      },
    });
    sessions.push(session);
    return session;
  }

  const refusal = (target?: DialTarget, self?: AgentSelf): Promise<RemoteError> =>
    meet(target, self).then(
      () => expect.fail('it was let in'),
      (error: unknown) => RemoteError.from(error),
    );

  test('takes an agent that is enrolled, by its key alone', async () => {
    await meet();
    const session = await waitFor('the session', () => meeting.sessions[0]);
    expect(await call(session, 'agent.info', {})).toEqual({ verb: 'agent.info' });
    expect(await refusal(undefined, meeting.self({}, meeting.identity('stranger')))).toMatchObject({
      code: 'unauthorized',
    });
    expect(await refusal(undefined, meeting.self({ machine: 'other' }))).toMatchObject({
      code: 'unauthorized',
    });
  });

  test('with another key and the right name gets not a byte of the agent [row 80]', async () => {
    const other = makeTlsKey(Date.now());
    for (const wrong of [
      { spki_sha256: [pinOf(other.certificate)] },
      { certificates: [other.certificate] },
      { certificates: [other.certificate], spki_sha256: [pinOf(other.certificate)] },
    ])
      expect(await refusal(port.target(wrong))).toMatchObject({ code: 'certificate_mismatch' });
    expect(meeting.refusals).toEqual([]);
    expect(meeting.sessions).toEqual([]);
  });

  test('never resumes a TLS session, whatever the client offers [row 80]', async () => {
    const offered: Buffer[] = [];
    const first = await port.client();
    first.on('session', (session) => offered.push(session));
    first.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await untilClosed(first);
    // TLS 1.3 hands tickets out after the handshake; a server that keeps none for use still may.
    for (const session of offered) {
      const again = await port.client({ session });
      expect(again.isSessionReused()).toBe(false);
      again.destroy();
    }
  });

  test('does not speak TLS 1.2, nor HTTP without TLS', async () => {
    await expect(port.client({ maxVersion: 'TLSv1.2' })).rejects.toThrow();
    const plain = await port.plain();
    plain.write('GET /v1/machines HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(await untilClosed(plain)).not.toContain('HTTP/1.1 2');
    expect(port.requests).toEqual([]);
  });

  test("is known to curl by its pin, and to OpenSSL's client by its certificate", async () => {
    const certificate = join(meeting.dir, 'port.pem');
    await writeFile(certificate, port.tls.certificate);
    const curl = (pin: string) =>
      run('curl', [
        '-sk',
        '--tlsv1.3',
        '--pinnedpubkey',
        `sha256//${pin}`,
        `https://127.0.0.1:${port.port}/x`,
      ]);
    await curl(port.pin);
    expect(port.requests).toEqual(['/x']);
    // curl(1): 90 is a pin that does not match.
    await expect(curl(pinOf(makeTlsKey(Date.now()).certificate))).rejects.toMatchObject({ code: 90 });
    expect(port.requests).toEqual(['/x']);
    const at = ['-connect', `127.0.0.1:${port.port}`, '-CAfile', certificate];
    const client = run('openssl', ['s_client', ...at, '-verify_return_error', '-verify_quiet']);
    client.child.stdin?.end('Q');
    expect((await client).stdout).toContain('TLSv1.3');
  });

  test('new connections meet the new key once it serves; those before go on', async () => {
    const session = await meet();
    const next = makeTlsKey(Date.now());
    port.listener.serve(next);
    expect(await refusal()).toMatchObject({ code: 'certificate_mismatch' });
    await meet(port.target({ certificates: [next.certificate], spki_sha256: [pinOf(next.certificate)] }));
    expect(session.ended).toBeUndefined();
  });

  test.each([
    ['another path', upgrade('/v1/execs', ours), '404'],
    ['a web page', upgrade('/v1/agent', ours, 'Origin: https://evil.example'), '403'],
    ['no subprotocol of ours', upgrade('/v1/agent'), '400'],
  ])(
    'an upgrade of %s is refused, and what follows it is read by nobody [row 76]',
    async (_w, say, status) => {
      const client = await port.client();
      client.write(`${say}GET /v1/machines HTTP/1.1\r\nHost: x\r\n\r\n`);
      client.write('raw bytes');
      const text = await untilClosed(client);
      expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status}`));
      expect(text.match(/HTTP\/1.1/g)).toHaveLength(1);
      expect(port.requests).toEqual([]);
    },
  );

  test('agrees on no compression; a compressed frame ends the connection [row 69]', async () => {
    const client = await port.client();
    client.write(upgrade('/v1/agent', ours, 'Sec-WebSocket-Extensions: permessage-deflate'));
    const [answer] = (await once(client, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1.1 101/);
    expect(answer.toString().toLowerCase()).not.toContain('sec-websocket-extensions');
    // FIN, RSV1 (compressed), text.
    client.write(Buffer.from([0xc1, 0x81, 0, 0, 0, 0, 0x41]));
    await untilClosed(client);
  });

  test.each([
    // 2 MiB, as 64 bits; its bytes need not even come.
    ['a frame over the limit [row 67]', Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0])],
    [
      'a flood of empty fragments [row 68]',
      Buffer.concat([
        Buffer.from([0x01, 0x80, 0, 0, 0, 0]),
        Buffer.alloc(60_000, Buffer.from([0x00, 0x80, 0, 0, 0, 0])),
      ]),
    ],
  ])('%s ends that connection alone', async (_what, bytes) => {
    const session = await meet();
    const client = await port.client();
    client.write(upgrade('/v1/agent', ours));
    await once(client, 'data');
    client.write(bytes);
    await untilClosed(client);
    expect(session.ended).toBeUndefined();
  });
});

describe('strangers at the port', () => {
  let clock: FakeClock;
  let meeting: Meeting;
  let port: DirectPort;
  beforeEach(async () => {
    clock = new FakeClock();
    meeting = new Meeting(clock);
    port = await DirectPort.open(meeting, { clock, limits: { maxUnproven: 4, maxUnprovenPerAddress: 4 } });
  });
  afterEach(async () => {
    port.close();
    await meeting.close();
  });

  const ways: readonly (readonly [string, () => Promise<Socket>])[] = [
    ['TCP and nothing else', () => port.plain()],
    ['half of a TLS greeting', async () => said(await port.plain(), Buffer.from([0x16, 3, 1, 2, 0]))],
    ['TLS and nothing else', () => port.client()],
    ['half of a request', async () => said(await port.client(), 'GET /v1/machines HTTP/1.1\r\nHost: ')],
    ['an upgrade and no hello', async () => said(await port.client(), upgrade('/v1/agent', ours))],
    [
      'half of a hello',
      async () => said(await port.client(), upgrade('/v1/agent', ours), Buffer.from([0x81, 0xfe, 1])),
    ],
  ];

  function said(socket: Socket, ...pieces: (string | Buffer)[]): Socket {
    for (const piece of pieces) socket.write(piece);
    return socket;
  }

  test.each(ways)(
    '%s: dropped when its time is over, also when more drips in [row 75]',
    async (_what, open) => {
      const socket = await open();
      const closed = untilClosed(socket);
      await waitFor('its deadline', () => clock.pending > 0);
      for (let i = 0; i < 9; i++) {
        await clock.advance(provenWithinMs / 10);
        if (!socket.destroyed) socket.write('x');
      }
      await clock.advance(provenWithinMs / 10);
      await closed;
      await waitFor('no timer', () => clock.pending === 0);
    },
  );

  test('more than there are places are dropped at once; a place that is free again is taken [row 75]', async () => {
    const held = await Promise.all([port.plain(), port.plain(), port.client(), port.client()]);
    const late = await port.plain();
    await untilClosed(late);
    expect(held.every((socket) => !socket.destroyed)).toBe(true);
    held[0]?.destroy();
    await waitFor('a free place', async () => {
      const client = await port.client().catch(() => undefined);
      client?.destroy();
      return client !== undefined;
    });
  });

  test('one address takes its places, and none of another [row 75]', async () => {
    const narrow = await DirectPort.open(meeting, {
      clock,
      limits: { maxUnproven: 8, maxUnprovenPerAddress: 2 },
    });
    try {
      const held = await Promise.all([narrow.plain(), narrow.plain()]);
      await untilClosed(await narrow.plain());
      const other = await narrow.client({ localAddress: '127.0.0.2' });
      expect([...held, other].some((socket) => socket.destroyed)).toBe(false);
    } finally {
      narrow.close();
    }
  });

  test('handshakes of strangers here leave those of tunnels their places [row 59] [row 75]', async () => {
    const wide = await DirectPort.open(meeting, {
      clock,
      limits: { maxUnproven: 1000, maxUnprovenPerAddress: 1000 },
    });
    try {
      const { maxHandshakes } = defaultWireLimits;
      const first = async (): Promise<string> => {
        const client = said(await wide.client(), upgrade('/v1/agent', ours));
        const [bytes] = (await once(client, 'data')) as [Buffer];
        return bytes.toString('latin1').slice(9, 12);
      };
      for (let i = 0; i < maxHandshakes; i += 32) await Promise.all(Array.from({ length: 32 }, first));
      expect(await first()).toBe('503');
      await meeting.listen();
      const dialled = await dial({ kind: 'unix', path: meeting.socket }, never);
      await greetController(dialled, meeting.self(), systemClock);
      dialled.transport.destroy();
    } finally {
      wide.close();
    }
  });

  test('a caller that is known and lets its next request drip in is dropped too [row 75]', {
    timeout: 4 * provenWithinMs,
  }, async () => {
    const known = await DirectPort.open(meeting, {
      clock,
      onRequest: (request, response) => {
        proven(request.socket);
        response.end();
      },
    });
    try {
      const client = said(await known.client(), 'GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      await once(client, 'data');
      client.write('GET / HTTP/1.1\r\nHost: x\r\n');
      const dripping = setInterval(() => client.write('a: b\r\n'), 500);
      try {
        await untilClosed(client);
      } finally {
        clearInterval(dripping);
      }
    } finally {
      known.close();
    }
  });

  test('an agent that is proven takes no place of others [row 75]', async () => {
    const agents: Dialled[] = [];
    for (let i = 0; i < 6; i++) {
      const dialled = await dial(port.target(), never);
      await greetController(dialled, meeting.self(), systemClock);
      agents.push(dialled);
    }
    expect(meeting.sessions).toHaveLength(6);
    expect((await port.client()).destroyed).toBe(false);
    for (const { transport } of agents) transport.destroy();
  });
});
