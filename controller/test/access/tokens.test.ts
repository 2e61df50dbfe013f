import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect as connectNet, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { createLogger, RotatingFile, systemClock } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { waitFor } from '../../../test/src/lab/wait-for.ts';
import { FailureLimit, maxFailures } from '../../src/access/failure-limit.ts';
import { maxConnectionsEach } from '../../src/access/open-connections.ts';
import type { Principal, TokenPrincipal } from '../../src/access/principal.ts';
import { Tokens } from '../../src/access/tokens.ts';
import { DoorLab } from './door-lab.ts';

const local: Principal = { kind: 'local' };
const day = 24 * 60 * 60 * 1000;

let lab: DoorLab;
beforeEach(async () => {
  lab = await DoorLab.open();
});
afterEach(() => lab.close());

const file = () => join(lab.dir, 'tokens.json');
const ask = (token: string | undefined) => lab.ask({ path: '/v1/machines', tls: { token } });
const audit = (token: string) => lab.ask({ path: '/v1/audit', tls: { token } });
const codeOf = async (token: string | undefined) =>
  /"code":"([a-z_]+)"/.exec((await ask(token)).bytes.toString())?.[1];

/** What a process finds that starts now. */
function reopened(): Promise<Tokens> {
  const log = createLogger(new RotatingFile(join(lab.dir, 'log')));
  return Tokens.open(file(), { clock: lab.clock, log });
}

describe('a token', () => {
  test('is on disk before its secret is answered, and its secret never', async () => {
    const { id, token } = await lab.token(['machines:read']);
    const [, secret = ''] = token.split('.');
    expect(Buffer.from(secret, 'base64url')).toHaveLength(32);
    expect(readFileSync(file(), 'utf8')).toContain(id);
    expect(readFileSync(file(), 'utf8')).not.toContain(secret);
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    expect(JSON.stringify(lab.tokens.list())).not.toContain(secret);
    await ask(token);
    expect(JSON.stringify(lab.audit.entries)).not.toContain(secret);
    expect(readFileSync(join(lab.dir, 'log'), 'utf8')).not.toContain(secret);
  });

  test('ends after 30 days, or when it says, or never', async () => {
    const [usual, short, endless] = await Promise.all([
      lab.tokens.create(local, 'unix', { scopes: ['machines:read'] }),
      lab.tokens.create(local, 'unix', { scopes: ['machines:read'], ttl_ms: 1000 }),
      lab.tokens.create(local, 'unix', { scopes: ['machines:read'], ttl_ms: 'none' }),
    ]);
    expect(endless.expires_at).toBeUndefined();
    const answers = async () => [
      await codeOf(usual.token),
      await codeOf(short.token),
      await codeOf(endless.token),
    ];
    expect(await answers()).toEqual([undefined, undefined, undefined]);
    lab.clock.ahead = 1000;
    expect(await answers()).toEqual([undefined, 'unauthorized', undefined]);
    lab.clock.ahead = 30 * day + 1000;
    expect(await answers()).toEqual(['unauthorized', 'unauthorized', undefined]);
    expect(lab.tokens.list().map(({ status }) => status)).toEqual(['expired', 'expired', 'active']);
  });

  test('that is revoked is so for the next process too', async () => {
    const { id, token } = await lab.token(['machines:read']);
    await lab.tokens.revoke(local, 'unix', id);
    expect(await codeOf(token)).toBe('unauthorized');
    expect((await reopened()).list()).toMatchObject([{ id, status: 'revoked' }]);
    expect(await lab.tokens.revoke(local, 'unix', id)).toMatchObject({ status: 'revoked' });
    await expect(lab.tokens.revoke(local, 'unix', 'nope')).rejects.toMatchObject({ code: 'unknown_token' });
  });

  test('that could not be written down as revoked lets nobody in, and is not said to be revoked until it is', async () => {
    const { id, token } = await lab.token(['machines:read']);
    const kept = readFileSync(file());
    rmSync(file());
    mkdirSync(join(file(), 'in the way'), { recursive: true });
    await expect(lab.tokens.revoke(local, 'unix', id)).rejects.toThrow();
    await expect(lab.tokens.revoke(local, 'unix', id)).rejects.toThrow();
    expect(await codeOf(token)).toBe('unauthorized');
    rmSync(file(), { recursive: true });
    writeFileSync(file(), kept);
    expect(await lab.tokens.revoke(local, 'unix', id)).toMatchObject({ status: 'revoked' });
    expect((await reopened()).list()).toMatchObject([{ id, status: 'revoked' }]);
    const told = lab.audit.entries.filter(({ verb }) => verb === 'token.revoke');
    expect(told).toMatchObject([{ result: 'done', facts: { token: id } }]);
    await lab.tokens.revoke(local, 'unix', id);
    expect(lab.audit.entries.filter(({ verb }) => verb === 'token.revoke')).toHaveLength(1);
  });

  test('shows when and from where it was last used, also to the next process', async () => {
    const { id, token } = await lab.token(['machines:read']);
    expect(lab.tokens.list()[0]?.last_used_at).toBeUndefined();
    await ask(token);
    await ask(token);
    expect(lab.tokens.list()).toMatchObject([
      { id, last_used_at: expect.any(String), last_used_from: '127.0.0.1' },
    ]);
    // No request waited for the disk.
    expect(readFileSync(file(), 'utf8')).not.toContain('last_used_at');
    await lab.tokens.close();
    expect((await reopened()).list()).toMatchObject([{ id, last_used_from: '127.0.0.1' }]);
    expect(lab.audit.entries.filter(({ verb }) => verb === 'token.use')).toHaveLength(1);
  });

  test('takes no more connections than its own, and none of another', async () => {
    const [mine, other] = [await lab.token(['machines:read']), await lab.token(['machines:read'])];
    const open: Socket[] = [];
    const hold = async (token: string): Promise<number> => {
      const socket = connectTls({
        host: '127.0.0.1',
        port: lab.port,
        ca: lab.certificate.cert,
        checkServerIdentity: () => undefined,
      });
      socket.on('error', () => undefined);
      open.push(socket);
      socket.write(
        `GET /v1/machines HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${token}\r\n\r\nGET /v1/machines HTTP/1.1\r\n`,
      );
      const [bytes] = (await once(socket, 'data')) as [Buffer];
      return Number(bytes.toString('latin1').slice(9, 12));
    };
    try {
      for (let i = 0; i < maxConnectionsEach; i += 32)
        expect(await Promise.all(Array.from({ length: 32 }, () => hold(mine.token)))).toEqual(
          Array(32).fill(200),
        );
      expect(await codeOf(mine.token)).toBe('fds_exhausted');
      expect(await codeOf(other.token)).toBeUndefined();
      open[0]?.destroy();
      await waitFor('a place', async () => (await codeOf(mine.token)) === undefined);
    } finally {
      for (const socket of open) socket.destroy();
    }
  });

  test.each([
    ['a scope that is none', { scopes: ['exec:write'] }],
    ['a scope with a target that it has not', { scopes: ['exec:read:box'] }],
    ['a machine name that is none', { scopes: ['exec:run:../box'] }],
    ['administration of some machines', { scopes: ['admin'], machines: ['box'] }],
    ['files outside its machines', { scopes: ['files:read:other'], machines: ['box'] }],
    ['runs outside its machines', { scopes: ['exec:run:other'], machines: ['box'] }],
  ])('is not made with %s', async (_what, wanted) => {
    await expect(lab.tokens.create(local, 'unix', wanted)).rejects.toMatchObject({ code: 'usage' });
    expect(lab.tokens.list()).toEqual([]);
  });

  test('gives no more than it has, nor for longer', async () => {
    const give = (own: Pick<TokenPrincipal, 'scopes' | 'machines'>, scopes: string[], machines?: string[]) =>
      lab.tokens
        .create({ kind: 'token', id: 'x', ...own }, '192.0.2.1', { scopes, ...(machines && { machines }) })
        .then(
          () => 'made',
          (error: unknown) => RemoteError.from(error).code,
        );
    expect(await give({ scopes: ['exec:run:box'] }, ['exec:run:box'])).toBe('made');
    expect(await give({ scopes: ['exec:run'] }, ['exec:run:box', 'logs:read'])).toBe('made');
    expect(await give({ scopes: ['exec:run:box'] }, ['exec:run'])).toBe('forbidden');
    expect(await give({ scopes: ['exec:run:box'] }, ['exec:read'])).toBe('forbidden');
    expect(await give({ scopes: ['exec:run'], machines: ['box'] }, ['exec:run'])).toBe('forbidden');
    expect(await give({ scopes: ['exec:run'], machines: ['box'] }, ['exec:run'], ['box'])).toBe('made');
    expect(await give({ scopes: ['logs:read'] }, ['admin'])).toBe('forbidden');
    expect(await give({ scopes: ['sync:write:app'] }, ['sync:write'])).toBe('forbidden');

    const { id } = await lab.tokens.create(local, 'unix', { scopes: ['admin'], ttl_ms: day });
    const admin: Principal = { kind: 'token', id, scopes: ['admin'] };
    const child = await lab.tokens.create(admin, '192.0.2.1', { scopes: ['admin'] });
    expect(child).toMatchObject({ created_by: `token:${id}`, expires_at: expect.any(String) });
    const [parent] = lab.tokens.list().filter((known) => known.id === id);
    expect(child.expires_at).toBe(parent?.expires_at);
    for (const ttl_ms of [2 * day, 'none'] as const)
      await expect(
        lab.tokens.create(admin, '192.0.2.1', { scopes: ['admin'], ttl_ms }),
      ).rejects.toMatchObject({ code: 'forbidden' });
  });
});

test('whatever is wrong with a token, the caller hears the same, and log and audit say what it was', async () => {
  const good = await lab.token(['admin']);
  const expired = await lab.tokens.create(local, 'unix', { scopes: ['admin'], ttl_ms: 1 });
  const revoked = await lab.token(['admin']);
  await lab.tokens.revoke(local, 'unix', revoked.id);
  lab.clock.ahead = 10;
  const [id, secret = ''] = good.token.split('.');
  const shown = [
    [undefined, 'token_missing'],
    ['nonsense', 'token_unknown'],
    [`${'0'.repeat(20)}.${secret}`, 'token_unknown'],
    [`${id}.${'A'.repeat(43)}`, 'token_wrong'],
    [expired.token, 'token_expired'],
    [revoked.token, 'token_revoked'],
  ] as const;
  const answers = await Promise.all(
    shown.map(async ([token]) => {
      const { status, bytes, headers } = await ask(token);
      return { status, text: bytes.toString(), headers: { ...headers, date: '' } };
    }),
  );
  expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
  expect(answers[0]?.status).toBe(401);
  const noted = lab.audit.entries.filter(({ result }) => result === 'refused').map(({ reason }) => reason);
  expect(noted.sort()).toEqual(shown.map(([, reason]) => reason).sort());
  const log = readFileSync(join(lab.dir, 'log'), 'utf8');
  for (const [, reason] of shown) expect(log).toContain(reason);
});

test('what a token may not do and tries again and again is noted twenty times a minute, and refused each time', async () => {
  const asking = await lab.token(['machines:read']);
  const other = await lab.token(['machines:read']);
  const refusals = (id: string) => lab.audit.entries.filter(({ principal }) => principal === `token:${id}`);
  for (let tries = 0; tries < 25; tries++) expect((await audit(asking.token)).status).toBe(403);
  expect((await audit(other.token)).status).toBe(403);
  expect(refusals(asking.id).filter(({ result }) => result === 'refused')).toHaveLength(20);
  expect(refusals(asking.id).at(-1)?.facts).toEqual({ silenced: true });
  expect(refusals(other.id).at(-1)).toMatchObject({ verb: 'GET /v1/audit', result: 'refused' });
});

describe('the connections of a token', () => {
  /** A connection that stays open, once it has been let in. */
  async function held(token: string): Promise<Socket> {
    const socket = connectTls({
      host: '127.0.0.1',
      port: lab.port,
      ca: lab.certificate.cert,
      checkServerIdentity: () => undefined,
    });
    socket.on('error', () => undefined);
    socket.write(`GET /v1/machines HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${token}\r\n\r\n`);
    const [bytes] = await once(socket, 'data');
    expect(String(bytes)).toContain('HTTP/1.1 200');
    socket.resume();
    return socket;
  }

  test('end at once when it is revoked, and no others', async () => {
    // Nothing that comes later has a part in it.
    lab.clock.setTimer = () => ({ cancel: () => undefined });
    const [one, two] = [await lab.token(['admin']), await lab.token(['admin'])];
    const [first, second, kept] = await Promise.all([held(one.token), held(one.token), held(two.token)]);
    const ended = Promise.all([once(first, 'close'), once(second, 'close')]);
    await lab.tokens.revoke(local, 'unix', one.id);
    await ended;
    expect(kept.destroyed).toBe(false);
    kept.destroy();
  });

  test('end when its time is over', async () => {
    const { token } = await lab.tokens.create(local, 'unix', { scopes: ['admin'], ttl_ms: day });
    const socket = await held(token);
    lab.clock.ahead = day;
    await once(socket, 'close');
  });
});

describe('an address that fails', () => {
  test('often is told so without an entry in the log each, and a good token from there is let in', async () => {
    const { token } = await lab.token(['machines:read']);
    const codes: (string | undefined)[] = [];
    for (let i = 0; i < maxFailures + 5; i++) codes.push(await codeOf('nonsense'));
    expect(codes.slice(0, maxFailures).every((code) => code === 'unauthorized')).toBe(true);
    expect(codes.slice(maxFailures)).toEqual(Array(5).fill('too_many_failures'));
    const noted = lab.audit.entries.filter(({ reason }) => reason === 'token_unknown');
    expect(noted).toHaveLength(maxFailures);
    expect(noted.at(-1)?.facts).toMatchObject({ silenced: true });
    expect((await ask(token)).status).toBe(200);
  });

  test('is no other address, and one network of IPv6 is one', async () => {
    const clock = { ...systemClock, now: 0, monotonic: (): number => clock.now };
    const limit = new FailureLimit(clock);
    const fail = (address: string) =>
      Array.from({ length: maxFailures + 1 }, () => limit.count(address)).at(-1);
    expect(fail('192.0.2.1')).toBe('over');
    expect(limit.count('::ffff:192.0.2.1')).toBe('over');
    expect(limit.count('192.0.2.2')).toBe('within');
    expect(fail('2001:db8::1')).toBe('over');
    expect(limit.count('2001:db8:0:0:ffff::9')).toBe('over');
    expect(limit.count('2001:db8:0:1::1')).toBe('within');
    clock.now = 60_000;
    expect(limit.count('192.0.2.1')).toBe('within');
  });

  test('from many places takes no more memory than so many', async () => {
    const limit = new FailureLimit(systemClock);
    for (let i = 0; i < maxFailures; i++) limit.count('192.0.2.1');
    expect(limit.count('192.0.2.1')).toBe('over');
    for (let i = 0; i < 5000; i++) limit.count(`198.51.${i >> 8}.${i & 255}`);
    expect(limit.count('192.0.2.1')).toBe('within');
  });
});

test('a file of tokens that is damaged or foreign stops the start and is named, and one that is gone lets nobody in', async () => {
  const { token } = await lab.token(['admin']);
  const text = readFileSync(file(), 'utf8');
  for (const broken of ['', '{', text.slice(0, -20), text.replace('"admin"', '"exec:run"'), '[]']) {
    writeFileSync(file(), broken);
    const error = await reopened().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'state_unusable', message: expect.stringContaining(file()) });
  }
  writeFileSync(file(), text);
  expect((await reopened()).list()).toHaveLength(1);
  const socket = await unconnected();
  writeFileSync(file(), '{"version":1,"tokens":[]}');
  const tokens = await reopened();
  expect(() => tokens.authenticate(token, socket)).toThrow('unauthorized');
});

async function unconnected(): Promise<Socket> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connectNet((server.address() as { port: number }).port, '127.0.0.1');
  await once(socket, 'connect');
  socket.destroy();
  server.close();
  return socket;
}

test('a token that could not be written is not given', async () => {
  rmSync(file(), { force: true });
  mkdirSync(file());
  await expect(lab.token(['admin'])).rejects.toThrow();
  expect(lab.tokens.list()).toEqual([]);
  rmSync(file(), { recursive: true });
  const { id } = await lab.token(['admin']);
  expect(lab.tokens.list()).toMatchObject([{ id }]);
});
