import { once } from 'node:events';
import { type AddressInfo, createServer as createPlainServer, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type DialTarget, dial } from '../../../agent/src/connect/dial.ts';
import { connectThrough, proxyFor } from '../../../agent/src/connect/proxy.ts';
import { ConnectProxy } from '../lab/connect-proxy.ts';
import { Meeting } from './meeting.ts';

const never = new AbortController().signal;

describe('the proxy of the environment', () => {
  const url = new URL('https://controller.example:8443');
  const proxy = 'http://proxy.example:3128';

  test.each([
    [{}, undefined],
    [{ HTTPS_PROXY: '' }, undefined],
    [{ HTTPS_PROXY: proxy }, `${proxy}/`],
    [{ https_proxy: 'proxy.example:3128' }, `${proxy}/`],
    [{ https_proxy: proxy, HTTPS_PROXY: 'http://other.example' }, `${proxy}/`],
    [{ HTTPS_PROXY: 'http://a%40b:p%3A@proxy.example:3128' }, 'http://a%40b:p%3A@proxy.example:3128/'],
    [{ HTTPS_PROXY: proxy, NO_PROXY: 'localhost, .example' }, undefined],
    [{ HTTPS_PROXY: proxy, no_proxy: 'controller.example:8443' }, undefined],
    [{ HTTPS_PROXY: proxy, no_proxy: 'controller.example:443' }, `${proxy}/`],
    [{ HTTPS_PROXY: proxy, no_proxy: 'roller.example' }, `${proxy}/`],
    [{ HTTPS_PROXY: proxy, NO_PROXY: '*' }, undefined],
    [{ HTTPS_PROXY: proxy, NO_PROXY: '192.0.2.0/24' }, `${proxy}/`],
  ])('%j gives %s', (env, expected) => {
    expect(proxyFor(url, env)).toBe(expected);
  });

  test.each([
    ['192.0.2.0/24', '192.0.2.7', true],
    ['192.0.2.7', '192.0.2.7', true],
    ['192.0.2.0/99', '192.0.2.7', false],
    ['192.0.3.0/24', '192.0.2.7', false],
    ['2001:db8::/32', '[2001:db8::1]', true],
    ['[2001:db8::1]:443', '[2001:db8::1]', true],
  ])('NO_PROXY=%s leaves %s alone: %s', (list, host, exempt) => {
    const answer = proxyFor(new URL(`https://${host}`), { HTTPS_PROXY: proxy, NO_PROXY: list });
    expect(answer === undefined).toBe(exempt);
  });

  test.each(['socks5://h:1', 'https://h:1', 'http://', 'http://%zz:x@h:1', 'http://u:hunter2@'])(
    '%s is refused without being repeated',
    (named) => {
      const attempt = () => proxyFor(url, { HTTPS_PROXY: named });
      expect(attempt).toThrow(expect.objectContaining({ code: 'proxy_failed' }));
      expect(attempt).not.toThrow(/hunter2/);
    },
  );
});

describe('an agent behind a proxy', () => {
  let meeting: Meeting;
  const closers: (() => unknown)[] = [];
  beforeEach(() => {
    meeting = new Meeting();
  });
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
    await meeting.close();
  });

  /** A TLS port; what was sent to it, in plain. */
  async function tlsPort(): Promise<{ port: number; target: DialTarget & { kind: 'wss' }; seen: Socket[] }> {
    const certificate = meeting.certificate('controller');
    const seen: Socket[] = [];
    const server = createTlsServer(certificate, (socket) => {
      socket.on('error', () => undefined);
      seen.push(socket);
    });
    server.on('tlsClientError', () => undefined);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    closers.push(() => {
      for (const socket of seen) socket.destroy();
      server.close();
    });
    const { port } = server.address() as AddressInfo;
    const pins = { certificates: [certificate.cert], spki_sha256: [certificate.pin] };
    return { port, seen, target: { kind: 'wss', url: 'wss://controller.example:8443', ...pins } };
  }

  async function proxyTo(port: number, credentials?: string): Promise<ConnectProxy> {
    const proxy = await ConnectProxy.open({
      routes: { 'controller.example:8443': port },
      ...(credentials === undefined ? {} : { credentials }),
    });
    closers.push(() => proxy.close());
    return proxy;
  }

  test('speaks TLS to the pinned key through it, with the credentials of its URL', async () => {
    const { port, target, seen } = await tlsPort();
    const proxy = await proxyTo(port, 'me:p@ss word');
    const by = { ...target, proxy: `http://me:p%40ss%20word@127.0.0.1:${proxy.port}` };
    const giveUp = new AbortController();
    const dialling = dial(by, giveUp.signal).catch(() => undefined);
    await expect.poll(() => seen.length).toBe(1);
    const [bytes] = (await once(seen[0] as Socket, 'data')) as [Buffer];
    expect(bytes.toString()).toMatch(/^GET \/v1\/agent HTTP\/1\.1/);
    giveUp.abort();
    await dialling;
    expect(proxy.asked).toEqual(['controller.example:8443']);
    // The proxy saw TLS and nothing in it.
    expect(proxy.carried[0]).toBe(22);
    expect(proxy.carried.toString('latin1')).not.toContain('/v1/agent');
  });

  test('tells a proxy that answers in place of the controller by its key', async () => {
    const { port } = await tlsPort();
    const { target } = await tlsPort();
    const proxy = await proxyTo(port);
    await expect(dial({ ...target, proxy: `http://127.0.0.1:${proxy.port}` }, never)).rejects.toMatchObject({
      code: 'certificate_mismatch',
    });
  });

  test.each([
    ['me:wrong@', 'controller.example:8443', 'asks for credentials'],
    ['me:secret@', 'elsewhere.example:443', 'refused the connection with status 403'],
  ])('%s to %s: %s', async (userinfo, place, words) => {
    const proxy = await proxyTo(1, 'me:secret');
    const [host = '', port] = place.split(':');
    const attempt = connectThrough(
      `http://${userinfo}127.0.0.1:${proxy.port}`,
      { host, port: Number(port) },
      never,
    );
    await expect(attempt).rejects.toMatchObject({
      code: 'proxy_failed',
      message: `the proxy 127.0.0.1:${proxy.port} ${words}`,
    });
  });

  test.each([
    ['nothing at all', '', 'closed the connection'],
    ['no HTTP', 'SSH-2.0-OpenSSH\r\n\r\n', 'gave no answer that is HTTP'],
    ['headers without end', `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(64 * 1024)}`, 'gave no answer that is HTTP'],
    ['more than an answer', 'HTTP/1.1 200 OK\r\n\r\n\x16\x03', 'sent more than its answer'],
    [
      'a redirect',
      'HTTP/1.1 302 Found\r\nLocation: http://evil.example\r\n\r\n',
      'refused the connection with status 302',
    ],
  ])('a proxy that says %s is proxy_failed', async (_what, answer, words) => {
    const server = createPlainServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.end(answer));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    closers.push(() => server.close());
    const { port } = server.address() as AddressInfo;
    const attempt = connectThrough(`http://127.0.0.1:${port}`, { host: 'c.example', port: 443 }, never);
    await expect(attempt).rejects.toMatchObject({ message: `the proxy 127.0.0.1:${port} ${words}` });
  });

  test('a proxy that says nothing is given up with the attempt', async () => {
    const server = createPlainServer((socket) => socket.on('error', () => undefined));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    closers.push(() => server.close());
    const giveUp = new AbortController();
    server.on('connection', () => giveUp.abort());
    const { port } = server.address() as AddressInfo;
    const attempt = connectThrough(
      `http://127.0.0.1:${port}`,
      { host: 'c.example', port: 443 },
      giveUp.signal,
    );
    await expect(attempt).rejects.toMatchObject({ code: 'proxy_failed' });
  });
});
