import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { systemClock, WsTransport, webSocketProtocol } from '@codex-remote/platform';
import {
  call,
  defaultWireLimits,
  encodeFrame,
  encodeMessage,
  RemoteError,
  Session,
} from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { dial } from '../../../agent/src/connect/dial.ts';
import { greetController } from '../../../agent/src/connect/handshake.ts';
import { waitFor } from '../lab/wait-for.ts';
import { Meeting } from './meeting.ts';

/** A WebSocket frame (RFC 6455 §5.2) as a client sends it, mask zero. `bits`: FIN, RSV1 … and the opcode. */
function frame(bits: number, payload: Uint8Array): Uint8Array {
  const length = payload.byteLength;
  const head = Buffer.alloc(length < 126 ? 6 : length < 65_536 ? 8 : 14);
  head[0] = bits;
  head[1] = 0x80 | (length < 126 ? length : length < 65_536 ? 126 : 127);
  if (length >= 65_536) head.writeBigUInt64BE(BigInt(length), 2);
  else if (length >= 126) head.writeUInt16BE(length, 2);
  return Buffer.concat([head, payload]);
}
const fin = 0x80;
const rsv1 = 0x40;
const binary = 2;
const ping = encodeFrame({ kind: 'ping', nonce: 1n });

describe('an agent that has proved itself and turns on the controller', () => {
  let meeting: Meeting;
  let other: Session;
  const sockets: Socket[] = [];

  beforeEach(async () => {
    meeting = new Meeting();
    await meeting.listen();
    meeting.enrolled.set('other', meeting.agent.publicKey);
    meeting.arrival = { via: 'tunnel', machine: 'other' };
    const dialled = await dial({ kind: 'unix', path: meeting.socket }, new AbortController().signal);
    await greetController(dialled, meeting.self({ machine: 'other' }), systemClock);
    other = new Session({
      transport: dialled.transport,
      side: 'agent',
      clock: systemClock,
      accept: async (channel, verb) => {
        await channel.send({ verb });
        channel.end();
      },
    });
    await waitFor('the other session', () => meeting.sessions[0]);
    meeting.arrival = { via: 'tunnel', machine: 'box' };
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    other.end();
    await meeting.close();
  });

  /** Through the handshake; from there on whatever is written to the socket. */
  async function proven(): Promise<{ socket: Socket; session: Session }> {
    const socket = connect(meeting.socket);
    sockets.push(socket);
    socket.on('error', () => undefined);
    const ws = new WebSocket('ws://controller/v1/agent', webSocketProtocol, {
      createConnection: () => socket,
      perMessageDeflate: false,
    });
    ws.on('error', () => undefined);
    const upgraded = Promise.withResolvers<WsTransport>();
    ws.once('upgrade', (response) => upgraded.resolve(new WsTransport(ws, response.socket)));
    await once(ws, 'open');
    const transport = await upgraded.promise;
    await greetController(
      { transport, kind: 'unix', exporter: new Uint8Array(0) },
      meeting.self(),
      systemClock,
    );
    const session = await waitFor('the session', () => meeting.sessions[1]);
    return { socket, session };
  }
  const otherIsFine = async () => {
    const theirs = meeting.sessions[0];
    if (!theirs) throw new Error('no session');
    expect(await call(theirs, 'agent.info', {})).toEqual({ verb: 'agent.info' });
  };

  test('a frame of twice the limit ends its session, with close code 1009, and no other [row 67]', async () => {
    const { socket, session } = await proven();
    let answer = Buffer.alloc(0);
    socket.on('data', (bytes) => {
      answer = Buffer.concat([answer, bytes]);
    });
    socket.write(frame(fin | binary, new Uint8Array(2 * defaultWireLimits.maxFrameBytes)));
    await session.closed;
    // An unmasked close frame with its code.
    await waitFor('the close frame', () => answer.includes(Buffer.from([0x88, 0x02, 0x03, 0xf1])));
    await otherIsFine();
  });

  test('a header that announces an exabyte is refused before its bytes [row 67]', async () => {
    const { socket, session } = await proven();
    const head = Buffer.alloc(14);
    head.set([fin | binary, 0xff]);
    head.writeBigUInt64BE(2n ** 60n, 2);
    const before = process.memoryUsage();
    socket.write(head);
    await session.closed;
    const after = process.memoryUsage();
    expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(
      16 * 2 ** 20,
    );
    await otherIsFine();
  });

  test.each([
    ['empty', 0],
    ['of one byte', 1],
  ])('a flood of fragments that are %s ends its session early on [row 68]', async (_what, length) => {
    const { socket, session } = await proven();
    const continuation = frame(0, new Uint8Array(length));
    socket.write(frame(binary, new Uint8Array(1)));
    const many = Buffer.concat(Array.from({ length: 1000 }, () => continuation));
    let sent = 0;
    const flood = setInterval(() => {
      if (!socket.destroyed && sent < 1_000_000) sent += socket.write(many) ? 1000 : 0;
    }, 0);
    try {
      await session.closed;
    } finally {
      clearInterval(flood);
    }
    expect(sent).toBeLessThan(100_000);
    await otherIsFine();
  });

  test('a compressed frame, which nobody has agreed on, ends its session [row 69]', async () => {
    const { socket, session } = await proven();
    // A megabyte of zeros in a thousand bytes, as permessage-deflate would have it.
    socket.write(frame(fin | rsv1 | binary, Buffer.alloc(1000, 0x55)));
    await session.closed;
    await otherIsFine();
  });

  test.each([
    ['a text frame after the handshake', frame(fin | 1, Buffer.from('hello'))],
    ['an unmasked frame', Buffer.concat([Buffer.from([fin | binary, ping.byteLength]), ping])],
    ['a reserved opcode', frame(fin | 3, ping)],
    ['a control frame of 126 bytes', frame(fin | 9, new Uint8Array(126))],
    ['a fragmented control frame', frame(9, new Uint8Array(1))],
    ['a continuation of nothing', frame(fin, ping)],
    ['text that is no UTF-8', frame(fin | 1, Buffer.from([0xff, 0xfe]))],
    ['a truncated frame of ours', frame(fin | binary, ping.subarray(0, 5))],
    ['random bytes', Buffer.from(Array.from({ length: 400 }, (_, i) => (i * 167 + 13) % 256))],
  ])('%s ends its session and no other [row 74]', async (_what, bytes) => {
    const { socket, session } = await proven();
    socket.write(bytes);
    await session.closed;
    await otherIsFine();
  });

  test.each(['constructor', 'toString', '__proto__', 'exec.start', 'agent.info', 'exec.reports'])(
    'a request of its own, %s, is reset alone: a controller answers none [row 85]',
    async (verb) => {
      const { socket, session } = await proven();
      const payload = encodeMessage({ verb, params: { exec_id: 'x' } });
      const reply = once(socket, 'data');
      socket.write(frame(fin | binary, encodeFrame({ kind: 'open', channel: 2, payload })));
      const [bytes] = (await reply) as [Buffer];
      expect(bytes.toString('latin1')).toContain('unknown_verb');
      expect(session.ended).toBeUndefined();
      await otherIsFine();
    },
  );
});

/** RFC 6455 §4.2.2: what a server answers to the client's key. */
function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
}

describe('compression', () => {
  let meeting: Meeting;
  beforeEach(async () => {
    meeting = new Meeting();
    await meeting.listen();
  });
  afterEach(() => meeting.close());

  test('is not taken by the controller where it is offered [row 69]', async () => {
    const ws = new WebSocket(`ws+unix:${meeting.socket}:/v1/agent`, webSocketProtocol, {
      perMessageDeflate: true,
    });
    ws.on('error', () => undefined);
    await once(ws, 'open');
    expect(ws.extensions).toBe('');
    ws.terminate();
  });

  test('is not offered by the agent, and one that is pressed on it is refused [row 69]', async () => {
    const path = join(meeting.dir, 'bad.sock');
    const asked: string[] = [];
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', (bytes) => {
        const request = bytes.toString('latin1');
        asked.push(request);
        const key = /sec-websocket-key: (\S+)/i.exec(request)?.[1] ?? '';
        const accept = acceptOf(key);
        socket.write(
          `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\nsec-websocket-protocol: ${webSocketProtocol}\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n`,
        );
      });
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    try {
      const failure = await dial({ kind: 'unix', path }, new AbortController().signal).then(
        () => expect.fail('it went on'),
        (error: unknown) => RemoteError.from(error),
      );
      expect(failure.code).toBe('connection_reset');
      expect(asked[0]).not.toMatch(/sec-websocket-extensions/i);
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });
});

describe('a controller that answers otherwise', () => {
  const answers = [
    [
      'a redirect',
      'HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/v1/agent\r\ncontent-length: 0\r\n\r\n',
    ],
    ['a page', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'],
    ['no HTTP', '\u0000\u0001\u0002\r\n\r\n'],
    ['another protocol', 'HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: Upgrade\r\n\r\n'],
  ] as const;

  test.each(answers)('%s is followed nowhere, and told nothing more [row 86]', async (_what, answer) => {
    const meeting = new Meeting();
    const path = join(meeting.dir, 'bad.sock');
    let connections = 0;
    let said = '';
    const server = createServer((socket) => {
      connections++;
      socket.on('error', () => undefined);
      socket.on('data', (bytes) => {
        said += bytes.toString('latin1');
        socket.write(answer);
      });
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    try {
      const dialling = dial({ kind: 'unix', path }, new AbortController().signal);
      await expect(dialling).rejects.toMatchObject({ code: 'connection_reset' });
      expect(connections).toBe(1);
      expect(said.split('\r\n\r\n')).toHaveLength(2);
      expect(said).not.toContain(meeting.agent.publicKey);
    } finally {
      await new Promise((resolve) => server.close(resolve));
      await meeting.close();
    }
  });
});
