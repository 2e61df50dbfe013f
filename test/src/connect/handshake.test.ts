import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { systemClock } from '@codex-remote/platform';
import { call, defaultWireLimits, type RemoteError, Session } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type DialTarget, dial } from '../../../agent/src/connect/dial.ts';
import { type AgentSelf, greetController } from '../../../agent/src/connect/handshake.ts';
import { FakeClock } from '../../../packages/protocol/test/support/fake-clock.ts';
import { waitFor } from '../lab/wait-for.ts';
import { Meeting } from './meeting.ts';

const never = new AbortController().signal;

async function meet(target: DialTarget, self: AgentSelf): Promise<Session> {
  const dialled = await dial(target, never);
  await greetController(dialled, self, systemClock);
  return new Session({
    transport: dialled.transport,
    side: 'agent',
    clock: systemClock,
    accept: async (channel, verb) => {
      await channel.send({ verb });
      channel.end();
    },
  });
}

describe('agent and gateway', () => {
  let meeting: Meeting;
  beforeEach(async () => {
    meeting = new Meeting();
    await meeting.listen();
  });
  afterEach(() => meeting.close());

  const target = (): DialTarget => ({ kind: 'unix', path: meeting.socket });
  const refusal = (self: AgentSelf): Promise<RemoteError> =>
    meet(target(), self).then(
      () => expect.fail('it was let in'),
      (error: RemoteError) => error,
    );

  test('who is enrolled gets a session, and the controller can ask it', async () => {
    const session = await meet(target(), meeting.self());
    const ours = await waitFor('the session', () => meeting.sessions[0]);
    expect(await call(ours, 'agent.info', {})).toEqual({ verb: 'agent.info' });
    session.end();
    await ours.closed;
  });

  test('a key that is not enrolled and a machine that is not known are told the same', async () => {
    const wrongKey = await refusal(meeting.self({}, meeting.identity('stranger')));
    meeting.arrival = { via: 'tunnel', machine: 'ghost' };
    const unknown = await refusal(meeting.self({ machine: 'ghost' }));
    expect(wrongKey).toMatchObject({ code: 'unauthorized' });
    expect({ code: unknown.code, message: unknown.message }).toEqual({
      code: wrongKey.code,
      message: wrongKey.message,
    });
    expect(meeting.sessions).toHaveLength(0);
  });

  test('a machine that comes through the tunnel of another is refused', async () => {
    meeting.enrolled.set('other', meeting.agent.publicKey);
    meeting.arrival = { via: 'tunnel', machine: 'other' };
    expect(await refusal(meeting.self())).toMatchObject({ code: 'unauthorized' });
  });

  test('what an agent says of itself is text: kept, never opened or dialled; a name that is none lets nobody in [row 87]', async () => {
    const odd = '../../x\n\u001b[31m$(id)';
    const session = await meet(target(), { ...meeting.self({ host_id: odd }), bootId: odd, version: odd });
    await waitFor('the session', () => meeting.sessions[0]);
    session.end();
    for (const machine of ['../../x', '-oProxyCommand=x', 'a\nb', 'x'.repeat(300), '__proto__', ''])
      expect(await refusal(meeting.self({ machine }))).toMatchObject({ code: 'protocol_error' });
    // 10 kB of anything is over the limit of a hello: the connection is dropped without a word.
    for (const more of [{ version: 'v'.repeat(10_000) }, { bootId: 'b'.repeat(10_000) }])
      expect(await refusal({ ...meeting.self(), ...more })).toMatchObject({ code: 'connection_reset' });
    expect(await refusal({ ...meeting.self(), version: 'v'.repeat(65) })).toMatchObject({
      code: 'protocol_error',
    });
    expect(meeting.sessions).toHaveLength(1);
  });

  test('an agent tells another controller nothing but its hello [row 82]', async () => {
    const other = meeting.identity('other-controller');
    expect(await refusal(meeting.self({ controller_key: other.publicKey }))).toMatchObject({
      code: 'unauthorized',
    });
  });
});

describe('the gateway and strangers', () => {
  let meeting: Meeting;
  let clock: FakeClock;
  const sockets: Socket[] = [];
  beforeEach(async () => {
    clock = new FakeClock();
    meeting = new Meeting(clock);
    await meeting.listen();
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await meeting.close();
  });

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

  /** Sends, and collects until the other side has closed. */
  async function say(
    ...pieces: (string | Uint8Array)[]
  ): Promise<{ answer: Promise<string>; socket: Socket }> {
    const socket = connect(meeting.socket);
    sockets.push(socket);
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    let text = '';
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1');
    });
    const answer = once(socket, 'close').then(() => text);
    for (const piece of pieces) socket.write(piece);
    return { answer, socket };
  }

  const ours = 'Sec-WebSocket-Protocol: codex-remote.v1';

  test.each([
    ['another path', upgrade('/v1/execs', ours), '404'],
    ['a web page', upgrade('/v1/agent', ours, 'Origin: https://evil.example'), '403'],
    ['no subprotocol of ours', upgrade('/v1/agent'), '400'],
    ['a plain request for the API', 'GET /v1/machines HTTP/1.1\r\nHost: x\r\n\r\n', '404'],
  ])('%s is refused and the socket destroyed [row 76]', async (_what, request, status) => {
    const { answer } = await say(request);
    expect(await answer).toMatch(new RegExp(`^HTTP/1.1 ${status}`));
  });

  /** A masked frame of a client (RFC 6455 §5.2), mask zero. */
  function frame(opcode: number, payload: Uint8Array): Uint8Array {
    const length = payload.byteLength;
    const header =
      length < 126 ? [0x80 | opcode, 0x80 | length] : [0x80 | opcode, 0x80 | 126, length >> 8, length & 0xff];
    return Buffer.concat([Buffer.from([...header, 0, 0, 0, 0]), payload]);
  }

  test.each([
    ['a hello over its limit', frame(1, Buffer.alloc(defaultWireLimits.maxHelloBytes + 1, 0x20))],
    ['a binary frame before the handshake', frame(2, Buffer.from([1, 2, 3]))],
    ['a hello that is no JSON', frame(1, Buffer.from('hello'))],
    ['a hello with a field more', frame(1, Buffer.from('{"type":"hello","extra":1}'))],
    [
      'an empty fragment',
      Buffer.from([0x01, 0x80, 0, 0, 0, 0, 0x00, 0x80, 0, 0, 0, 0, 0x00, 0x80, 0, 0, 0, 0]),
    ],
  ])('%s ends the connection [row 68] [row 75]', async (_what, bytes) => {
    const { answer } = await say(upgrade('/v1/agent', ours), bytes);
    expect(await answer).toMatch(/^HTTP\/1.1 101/);
    expect(meeting.sessions).toHaveLength(0);
  });

  test('of more handshakes at once than there are places the rest gets 503; a place that is free again is taken [row 59]', async () => {
    const hello = upgrade('/v1/agent', ours);
    const first = async (): Promise<string> => {
      const { socket } = await say(hello);
      const [bytes] = (await once(socket, 'data')) as [Buffer];
      return bytes.toString('latin1').slice(0, 12);
    };
    const places = Array.from({ length: defaultWireLimits.maxHandshakes }, first);
    expect(new Set(await Promise.all(places))).toEqual(new Set(['HTTP/1.1 101']));
    expect(await Promise.all([first(), first()])).toEqual(['HTTP/1.1 503', 'HTTP/1.1 503']);
    sockets[0]?.destroy();
    await waitFor('a free place', async () => (await first()) === 'HTTP/1.1 101');
  });

  test.each([
    ['nothing', ''],
    ['half of a request', 'GET /v1/agent HTTP/1.1\r\nHost: x\r\n'],
  ])('who says %s, ever, is dropped when the time of the handshake is over [row 75]', async (_what, text) => {
    const { answer, socket } = await say(...(text === '' ? [] : [text]));
    await waitFor('the deadline', () => clock.pending > 0);
    for (let i = 0; i < 10; i++) {
      if (text !== '') socket.write('a: b\r\n');
      await clock.advance(defaultWireLimits.handshakeMs / 10);
    }
    expect(await answer).toBe('');
    await waitFor('no timer', () => clock.pending === 0);
  });

  test('of more that say nothing than there are places the rest is dropped at once [row 75]', async () => {
    const places = Array.from({ length: defaultWireLimits.maxHandshakes }, () => say());
    await Promise.all(places);
    await waitFor('all of them', () => clock.pending === defaultWireLimits.maxHandshakes);
    const { answer } = await say();
    expect(await answer).toBe('');
  });

  test('who says nothing is dropped when the time of the handshake is over [row 75]', async () => {
    const { answer, socket } = await say(upgrade('/v1/agent', ours));
    await once(socket, 'data');
    await waitFor('the deadline', () => clock.pending > 0);
    await clock.advance(defaultWireLimits.handshakeMs);
    await answer;
  });
});
