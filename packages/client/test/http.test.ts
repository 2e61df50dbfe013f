import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttp } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';
import { afterEach, expect, test } from 'vitest';
import { BodyDecoder, bodyKindOf, HeadReader } from '../src/http-parse.ts';
import { request } from '../src/index.ts';

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

function socketPath(): string {
  const folder = mkdtempSync(join(tmpdir(), 'cr-http-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 's');
}

/** A peer that answers every connection with these bytes, in these pieces, then closes. */
async function scripted(pieces: readonly string[], end = true): Promise<string> {
  const path = socketPath();
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('data', () => {
      for (const piece of pieces) socket.write(piece);
      if (end) socket.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return path;
}

async function bodyOf(path: string): Promise<string> {
  const response = await request(path, { method: 'GET', path: '/' });
  const pieces: Uint8Array[] = [];
  for await (const piece of response.body) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

function failure(promise: Promise<unknown>): Promise<RemoteError> {
  return promise.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: unknown) => (error instanceof RemoteError ? error : Promise.reject(error)),
  );
}

test.each([
  ['a length', ['HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello']],
  [
    'chunks',
    [
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: 1\r\n\r\n',
    ],
  ],
  ['the end of the connection', ['HTTP/1.1 200 OK\r\n\r\nhel', 'lo']],
  [
    'an interim answer before it',
    ['HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'],
  ],
])('a body that ends by %s is whole', async (_name, pieces) => {
  expect(await bodyOf(await scripted(pieces))).toBe('hello');
});

test('a chunked answer is the same in pieces of one byte', () => {
  const body = Buffer.from('2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n');
  const decoder = new BodyDecoder('chunked');
  const out: Uint8Array[] = [];
  for (const byte of body)
    out.push(...[...decoder.push(Buffer.from([byte]))].map((piece) => Buffer.from(piece)));
  expect(Buffer.concat(out).toString()).toBe('hello');
  expect(decoder.whole).toBe(true);
});

test.each([
  ['ends before its length', 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello'],
  ['ends before its last chunk', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n'],
])('a body that %s is cut, not whole', async (_name, answer) => {
  expect((await failure(bodyOf(await scripted([answer])))).code).toBe('stream_cut');
});

test.each([
  ['no HTTP', 'SSH-2.0-OpenSSH\r\n\r\n'],
  ['two ways to end', 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n'],
  ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n'],
  ['a negative length', 'HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n'],
  ['a folded header', 'HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n'],
  ['a head without end', `HTTP/1.1 200 OK\r\na: ${'x'.repeat(20_000)}`],
])('an answer with %s is refused', async (_name, answer) => {
  expect((await failure(bodyOf(await scripted([answer])))).code).toBe('protocol_error');
});

test.each([['zz\r\n'], ['5\r\nhelloX\r\n'], [`${'0'.repeat(80)}\r\n`], ['0\r\n\r\nmore']])(
  'a chunk line %j is refused',
  (bytes) => {
    expect(() => [...new BodyDecoder('chunked').push(Buffer.from(bytes))]).toThrow(RemoteError);
  },
);

test('a head is found in any pieces', () => {
  const reader = new HeadReader();
  const bytes = Buffer.from('HTTP/1.1 404 Not Found\r\nX-Name:  value \r\n\r\nrest');
  let found: ReturnType<HeadReader['push']>;
  for (const byte of bytes.subarray(0, -4)) found = reader.push(Buffer.from([byte]));
  expect(found?.head.status).toBe(404);
  expect(found?.head.headers.get('x-name')).toBe('value');
  expect(bodyKindOf({ status: 204, headers: new Map() })).toBe(0);
});

test('nobody on the socket: not sent, and the errno', async () => {
  const error = await failure(request(socketPath(), { method: 'GET', path: '/' }));
  expect([error.code, error.details.sent, error.details.facts?.errno]).toEqual([
    'controller_unreachable',
    'no',
    'ENOENT',
  ]);
});

test('a peer that closes without an answer: it may have been sent', async () => {
  const error = await failure(
    request(await scripted([]), { method: 'POST', path: '/', body: Buffer.from('x') }),
  );
  expect([error.code, error.details.sent]).toEqual(['controller_unreachable', 'unknown']);
});

test('an answer that does not come in time', async () => {
  const error = await failure(request(await scripted([], false), { method: 'GET', path: '/', answerMs: 20 }));
  expect(error.code).toBe('controller_unreachable');
});

test('a signal ends a request and a body that is read', async () => {
  const path = await scripted(['HTTP/1.1 200 OK\r\n\r\nfirst'], false);
  const stop = new AbortController();
  const response = await request(path, { method: 'GET', path: '/', signal: stop.signal });
  const read = async () => {
    for await (const _piece of response.body) stop.abort(new RemoteError('cancelled', 'enough'));
  };
  expect((await failure(read())).message).toBe('enough');
  expect((await failure(request(path, { method: 'GET', path: '/', signal: stop.signal }))).message).toBe(
    'enough',
  );
});

test('a body of unknown length arrives whole at a real server, which may answer slowly', async () => {
  const path = socketPath();
  const server = createHttp(async (message, response) => {
    let bytes = 0;
    for await (const chunk of message) bytes += (chunk as Buffer).byteLength;
    response.end(String(bytes));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  cleanups.push(() => server.close());
  async function* body() {
    for (let i = 0; i < 200; i++) yield Buffer.alloc(10_007, i);
  }
  const response = await request(path, { method: 'POST', path: '/', body: body() });
  const pieces: Uint8Array[] = [];
  for await (const piece of response.body) pieces.push(piece);
  expect(Buffer.concat(pieces).toString()).toBe(String(200 * 10_007));
});

test('a reader that does not read holds the sender, not memory', async () => {
  const path = socketPath();
  let sent = 0;
  const server = createHttp((_message, response) => {
    const more = () => {
      while (sent < 64 * 1024 * 1024 && !response.destroyed) {
        sent += 65_536;
        if (!response.write(Buffer.alloc(65_536))) return void response.once('drain', more);
      }
      response.end();
    };
    more();
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  cleanups.push(() => server.close());
  const response = await request(path, { method: 'GET', path: '/' });
  let before = -1;
  while (before !== sent) {
    before = sent;
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  expect(sent).toBeLessThan(8 * 1024 * 1024);
  let bytes = 0;
  for await (const piece of response.body) bytes += piece.byteLength;
  expect(bytes).toBe(64 * 1024 * 1024);
});
