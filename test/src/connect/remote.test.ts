import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from 'node:tls';
import { ControllerClient, type RemoteController, remoteEndpoint, remoteOf } from '@codex-remote/client';
import { RemoteError } from '@codex-remote/protocol/wire';
import { type Certificate, selfSigned } from '@codex-remote/test/lab';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';

let ours: Certificate;
let other: Certificate;
beforeAll(() => {
  ours = selfSigned('ours');
  other = selfSigned('other');
});

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

interface Stand {
  readonly remote: RemoteController;
  /** What was sent inside TLS, a text per connection. */
  readonly heard: string[];
  readonly reused: boolean[];
}

/** A TLS server that answers every request so. */
async function serve(
  answer: string | ((socket: Socket) => void),
  options: TlsOptions = {},
  given: Partial<RemoteController> = {},
): Promise<Stand> {
  const heard: string[] = [];
  const reused: boolean[] = [];
  const server = createTlsServer({ key: ours.key, cert: ours.cert, ...options }, (socket: TLSSocket) => {
    const at = heard.push('') - 1;
    reused.push(socket.isSessionReused());
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => {
      heard[at] += bytes;
      if (!heard[at]?.includes('\r\n\r\n')) return;
      if (typeof answer === 'string') socket.end(answer);
      else answer(socket);
    });
    closers.push(() => socket.destroy());
  });
  server.on('tlsClientError', () => undefined);
  return { heard, reused, remote: { ...(await listening(server)), ...given } };
}

async function listening(server: Server): Promise<RemoteController> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => server.close());
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token: 'id.secret',
    certificates: [ours.cert],
    spki_sha256: [ours.pin],
  };
}

const machines = (remote: RemoteController) =>
  new ControllerClient({ socket: remoteEndpoint(remote) }).machines();
const failure = (work: Promise<unknown>): Promise<RemoteError> =>
  work.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: unknown) => RemoteError.from(error),
  );
const json = (status: string, body: object, more = ''): string =>
  `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\n${more}content-length: ${JSON.stringify(body).length}\r\n\r\n${JSON.stringify(body)}`;
const none = json('200 OK', { machines: [] });

describe('a controller elsewhere', () => {
  test('is spoken with over TLS 1.3, with our token and its own name', async () => {
    const { remote, heard } = await serve((socket) => {
      expect((socket as TLSSocket).getProtocol()).toBe('TLSv1.3');
      socket.end(none);
    });
    expect(await machines(remote)).toEqual([]);
    expect(heard[0]).toContain('authorization: Bearer id.secret\r\n');
    expect(heard[0]).toContain(`host: ${new URL(remote.url).host}\r\n`);
  });

  test('is known by its key on every connection: none is resumed [row 80]', async () => {
    const { remote, reused } = await serve(none);
    const client = new ControllerClient({ socket: remoteEndpoint(remote) });
    for (let i = 0; i < 3; i++) await client.machines();
    expect(reused).toEqual([false, false, false]);
  });

  test.each([
    ['another pin', { spki_sha256: () => [other.pin] }],
    ['no pin', { spki_sha256: () => [] }],
    ['another certificate, though the pin is right', { certificates: () => [other.cert] }],
    ['neither', { spki_sha256: () => [other.pin], certificates: () => [other.cert] }],
  ] as const)('is told nothing where we were given %s [row 80]', async (_what, given) => {
    const { remote, heard } = await serve(none);
    const made = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, value()]));
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    try {
      const error = await failure(machines({ ...remote, ...made }));
      expect(error).toMatchObject({ code: 'certificate_mismatch', details: { sent: 'no' } });
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    }
    expect(heard.join('')).toBe('');
  });

  test('may have the key of a rotation that we were told of', async () => {
    const { remote } = await serve(none, { key: other.key, cert: other.cert });
    const both = { certificates: [ours.cert, other.cert], spki_sha256: [ours.pin, other.pin] };
    expect(await machines({ ...remote, ...both })).toEqual([]);
  });

  test('that speaks an older TLS, or none, is not reached', async () => {
    const { remote } = await serve(none, { maxVersion: 'TLSv1.2' });
    expect(await failure(machines(remote))).toMatchObject({
      code: 'controller_unreachable',
      details: { sent: 'no' },
    });
    const plain = await listening(createServer((socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n')));
    expect(await failure(machines(plain))).toMatchObject({
      code: 'controller_unreachable',
      details: { sent: 'no' },
    });
  });

  test('that is not there is unreachable at its address, and nobody starts one', async () => {
    const { remote } = await serve(none);
    for (const close of closers.splice(0)) close();
    const error = await failure(machines(remote));
    expect(error).toMatchObject({ code: 'controller_unreachable', retryable: true, details: { sent: 'no' } });
    expect(error.message).toContain(remote.url);
  });

  test('that says nothing is not waited for without end', async () => {
    const mute = await listening(createServer((socket) => closers.push(() => socket.destroy())));
    const endpoint = { ...remoteEndpoint(mute), connectMs: 50 };
    const error = await failure(new ControllerClient({ socket: endpoint }).machines());
    expect(error).toMatchObject({
      code: 'controller_unreachable',
      details: { sent: 'no', facts: { errno: 'ETIMEDOUT' } },
    });
  });

  test('that refuses our token is an answer, not a failure to reach it', async () => {
    const { remote } = await serve(
      json('401 Unauthorized', {
        error: { code: 'unauthorized', message: 'unauthorized: no', retryable: false },
      }),
    );
    expect(await failure(machines(remote))).toMatchObject({ code: 'unauthorized' });
  });

  test.each(['301 Moved Permanently', '302 Found', '307 Temporary Redirect', '308 Permanent Redirect'])(
    'that answers %s is not followed, with the token least of all [row 86]',
    async (status) => {
      const target = await serve(none);
      const { remote } = await serve(json(status, {}, `location: ${target.remote.url}/v1/machines\r\n`));
      expect(await failure(machines(remote))).toMatchObject({ code: 'protocol_error' });
      expect(target.heard).toEqual([]);
    },
  );

  test('that breaks off is told by what was sent', async () => {
    const { remote } = await serve((socket) => socket.destroy());
    expect(await failure(machines(remote))).toMatchObject({
      code: 'controller_unreachable',
      details: { sent: 'unknown' },
    });
    const cut = await serve((socket) => socket.end(none.slice(0, -3)));
    expect(await failure(machines(cut.remote))).toMatchObject({ code: 'stream_cut' });
  });

  test('of another release is left alone', async () => {
    const { remote, heard } = await serve(
      json('200 OK', { machines: [] }, 'x-codex-remote-build: another\r\n'),
    );
    const client = new ControllerClient({ socket: remoteEndpoint(remote) });
    await client.machines();
    await client.connection.replaceOlder();
    expect(heard).toHaveLength(1);
  });
});

describe('the environment names it', () => {
  let dir: string;
  let line: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'cr-token-'));
    line = JSON.stringify({
      ok: true,
      url: 'https://controller.example:7443',
      token: 'id.secret',
      certificates: [ours.cert],
      spki_sha256: [ours.pin],
    });
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  const file = (text: string, mode = 0o600): string => {
    const path = join(dir, `${closers.length}-${Math.random()}`);
    writeFileSync(path, text);
    chmodSync(path, mode);
    return path;
  };
  const wanted = () => ({
    url: 'https://controller.example:7443',
    token: 'id.secret',
    certificates: [ours.cert],
    spki_sha256: [ours.pin],
  });

  test('by a file that is all there is to know, or by the same line in a variable', () => {
    expect(remoteOf({})).toBeUndefined();
    expect(
      remoteOf({ CODEX_REMOTE_URL: '', CODEX_REMOTE_TOKEN_FILE: '', CODEX_REMOTE_TOKEN: '' }),
    ).toBeUndefined();
    expect(remoteOf({ CODEX_REMOTE_TOKEN_FILE: file(line) })).toEqual(wanted());
    expect(remoteOf({ CODEX_REMOTE_TOKEN_FILE: file(line, 0o400) })).toEqual(wanted());
    expect(remoteOf({ CODEX_REMOTE_TOKEN: line })).toEqual(wanted());
    const link = join(dir, 'link');
    symlinkSync(file(line), link);
    expect(remoteOf({ CODEX_REMOTE_TOKEN_FILE: link })).toEqual(wanted());
  });

  test('and another address leads to the same controller', () => {
    const env = { CODEX_REMOTE_TOKEN: line, CODEX_REMOTE_URL: 'https://localhost:9000/' };
    expect(remoteOf(env)).toEqual({ ...wanted(), url: 'https://localhost:9000' });
  });

  test.each([
    [() => ({ CODEX_REMOTE_URL: 'https://controller.example' }), 'unauthorized', 'no token'],
    [() => ({ CODEX_REMOTE_TOKEN: 'id.secret' }), 'unauthorized', 'does not hold'],
    [() => ({ CODEX_REMOTE_TOKEN_FILE: file('id.secret\n') }), 'unauthorized', 'does not hold'],
    [() => ({ CODEX_REMOTE_TOKEN_FILE: file(line.replace('spki', 'x')) }), 'unauthorized', 'does not hold'],
    [
      () => ({ CODEX_REMOTE_TOKEN_FILE: file(line.replace('id.secret', 'id\\r\\nx')) }),
      'unauthorized',
      'does not hold',
    ],
    [() => ({ CODEX_REMOTE_TOKEN: line.replace(/-----BEGIN[^"]*/, 'x') }), 'unauthorized', 'certificate'],
    [() => ({ CODEX_REMOTE_TOKEN_FILE: '/nonexistent/token' }), 'unauthorized', 'ENOENT'],
    [() => ({ CODEX_REMOTE_TOKEN_FILE: tmpdir() }), 'unauthorized', 'no file'],
    [() => ({ CODEX_REMOTE_TOKEN_FILE: file(line, 0o640) }), 'unauthorized', 'open to others (mode 0640)'],
    [() => ({ CODEX_REMOTE_TOKEN_FILE: file(line, 0o604) }), 'unauthorized', 'open to others'],
    [() => ({ CODEX_REMOTE_TOKEN_FILE: file('x'.repeat(70_000)) }), 'unauthorized', 'too large'],
    [() => ({ CODEX_REMOTE_TOKEN: line, CODEX_REMOTE_TOKEN_FILE: file(line) }), 'usage', 'exclude'],
    [() => ({ CODEX_REMOTE_TOKEN: line, CODEX_REMOTE_URL: 'http://controller.example' }), 'usage', 'URL'],
    [() => ({ CODEX_REMOTE_TOKEN: line, CODEX_REMOTE_URL: 'https://x/path' }), 'usage', 'URL'],
  ])('badly: %s is %s', (env, code, words) => {
    let thrown: unknown;
    try {
      remoteOf(env());
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({ code, message: expect.stringContaining(words) });
    const { message, details } = thrown as RemoteError;
    expect([details.sent, typeof details.hint]).toEqual([
      'no',
      code === 'usage' && words === 'exclude' ? 'undefined' : 'string',
    ]);
    expect(message + details.hint).not.toContain('secret\n');
    expect(message).not.toContain('id.secret');
  });
});
