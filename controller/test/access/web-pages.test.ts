import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { routes } from '../../src/http/routes.ts';
import { type Asked, DoorLab } from './door-lab.ts';

let lab: DoorLab;
let token: string;
beforeAll(async () => {
  lab = await DoorLab.open();
  token = (await lab.token(['admin'])).token;
});
afterAll(() => lab.close());

const post = (body = '{"name":"evil"}', type = 'application/json') => ({
  method: 'POST',
  path: '/v1/machines',
  headers: { 'content-type': type },
  body,
});

async function codeOf(asked: Asked): Promise<[number, string | undefined]> {
  const { status, bytes, headers } = await lab.ask(asked);
  // Nothing that is answered, to whomever, lets a browser read it.
  expect(Object.keys(headers).filter((name) => name.startsWith('access-control-'))).toEqual([]);
  expect(headers['set-cookie']).toBeUndefined();
  return [status, /"code":"([a-z_]+)"/.exec(bytes.toString())?.[1]];
}

describe('a request that a web page causes is refused, on both ways, with a good token too', () => {
  test.each([
    ['its own origin', { origin: 'https://evil.example' }],
    ['our origin', { origin: 'https://controller.example' }],
    ['an opaque origin', { origin: 'null' }],
    ['an empty origin', { origin: '' }],
    ['a fetch across sites', { 'sec-fetch-site': 'cross-site' }],
    ['a fetch of a neighbour', { 'sec-fetch-site': 'same-site' }],
    ['a fetch of a page of ours, which there is none of', { 'sec-fetch-site': 'same-origin' }],
    [
      'a simple request without an origin, as old browsers send',
      { 'sec-fetch-site': 'cross-site', origin: '' },
    ],
  ])('%s [row 99]', async (_what, headers) => {
    for (const request of [
      { path: '/v1/machines' },
      { path: '/v1/join/01k9qzv8j0abcdefghjk/node' },
      post(),
    ]) {
      const all = { ...('headers' in request ? request.headers : {}), ...headers };
      const asked = { ...request, headers: all };
      expect(await codeOf(asked)).toEqual([403, 'forbidden']);
      expect(await codeOf({ ...asked, tls: { token } })).toEqual([403, 'forbidden']);
      expect(await codeOf({ ...asked, tls: {} })).toEqual([403, 'forbidden']);
    }
  });

  test('the preflight that a browser would ask first is answered with nothing that allows it [row 99]', async () => {
    const headers = { origin: 'https://evil.example', 'access-control-request-method': 'POST' };
    for (const tls of [undefined, {}, { token }])
      expect(await codeOf({ method: 'OPTIONS', path: '/v1/machines', headers, ...(tls && { tls }) })).toEqual(
        [403, 'forbidden'],
      );
  });
});

describe('a request without an origin proves nothing by that', () => {
  test('over TLS it needs the token, and nothing else is one [row 99]', async () => {
    const wrong: Asked[] = [
      { path: '/v1/machines', tls: {} },
      { path: `/v1/machines?token=${token}&access_token=${token}`, tls: {} },
      { path: '/v1/machines', headers: { cookie: `token=${token}` }, tls: {} },
      { path: '/v1/machines', headers: { authorization: `Basic ${btoa(`x:${token}`)}` }, tls: {} },
      { path: '/v1/machines', headers: { authorization: token }, tls: {} },
      { path: '/v1/machines', headers: { 'x-codex-remote-token': token }, tls: {} },
      { ...post(JSON.stringify({ name: 'evil', token, principal: { kind: 'local' } })), tls: {} },
    ];
    for (const asked of wrong)
      expect([asked.path, ...(await codeOf(asked))]).toEqual([asked.path, 401, 'unauthorized']);
    expect((await lab.ask({ path: '/v1/machines', tls: { token } })).status).toBe(200);
  });

  test('who is not let in learns neither which routes there are nor what answers', async () => {
    for (const path of ['/v1/machines', '/v1/nothing', '/', '/v1/agent', '/.git/config']) {
      const { status, headers, bytes } = await lab.ask({ path, tls: {} });
      expect([path, status, headers['x-codex-remote-build'], headers.connection]).toEqual([
        path,
        401,
        undefined,
        'close',
      ]);
      expect(bytes.toString()).not.toContain(path);
    }
  });
});

describe('a name that an attacker has pointed at us', () => {
  test.each([
    ['evil.example'],
    ['evil.example:443'],
    ['controller.example.evil.example'],
    ['evil.example@controller.example'],
    ['controller.example.'],
    ['127.0.0.1.evil.example'],
    ['192.0.2.7'],
    ['[::1'],
  ])('is not ours: Host %j, with a good token too [row 99]', async (host) => {
    expect(await codeOf({ path: '/v1/machines', tls: { token, host } })).toEqual([403, 'forbidden']);
  });

  test.each([['controller.example'], ['controller.example:8443'], ['LOCALHOST:1'], ['127.0.0.1']])(
    'while %s is [row 99]',
    async (host) => {
      expect((await lab.ask({ path: '/v1/machines', tls: { token, host } })).status).toBe(200);
    },
  );
});

describe('what a form of a web page can send', () => {
  test.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'text/plain; x=application/json',
    '',
  ])('a POST with content type %j is refused [row 99]', async (type) => {
    const { headers, ...rest } = post(undefined, type);
    const asked = type === '' ? rest : { ...rest, headers };
    expect(await codeOf(asked)).toEqual([400, 'usage']);
    expect(await codeOf({ ...asked, tls: { token } })).toEqual([400, 'usage']);
  });

  test('changes nothing by a GET: those only read [row 99]', () => {
    const reads = /^(?:list|show|get|read|watch|wait|verify)[A-Z]|^controllerStatus$/;
    for (const { method, handle } of routes)
      if (method === 'GET') expect(handle.name).toMatch(reads);
      else expect(handle.name).not.toMatch(/^(?:list|show|get|read|watch|wait)/);
  });

  test('nor by HEAD, nor by a method that is named in a header [row 99]', async () => {
    expect((await lab.ask({ method: 'HEAD', path: '/v1/machines', tls: { token } })).status).toBe(404);
    const headers = { 'x-http-method-override': 'DELETE' };
    const answer = await lab.ask({ path: '/v1/machines/box', headers, tls: { token } });
    expect(JSON.parse(answer.bytes.toString())).toMatchObject({ machine: 'box' });
  });
});
