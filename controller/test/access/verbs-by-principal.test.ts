import { systemClock } from '@codex-remote/platform';
import { agentVerbs, recordsContentType } from '@codex-remote/protocol/schema';
import { call, encodeRecord, RecordParser, Session, streamId } from '@codex-remote/protocol/wire';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pipe } from '../../../packages/protocol/test/support/pipe.ts';
import { scopes } from '../../src/access/scopes.ts';
import { routes } from '../../src/http/routes.ts';
import { type Answer, type Asked, DoorLab } from './door-lab.ts';

/** Callers in the order of the columns. `@other`: limited to the machine `other` by `--machine`. */
const columns = [
  ...['local', 'admin'],
  ...['machines:read', 'exec:run', 'exec:run:box', 'exec:read', 'logs:read'],
  ...['files:read', 'files:write', 'sync:write', 'sync:write:app'],
  ...['exec:run:other', 'exec:run @other', 'exec:read @other', 'logs:read @other', 'machines:read @other'],
  ...['no token', 'wrong token', 'expired', 'revoked', 'agent key'],
] as const;
type Column = (typeof columns)[number];

/**
 * Who may what: every route, asked about the machine `box` and its exec `e-box`, by every kind of caller.
 *
 *   +  it is answered
 *   F  forbidden: the caller is known, and this is not for it
 *   U  unauthorized: the caller is not known
 *   M  unknown_machine, N  exec_not_found: as for what does not exist
 */
const table = `
GET /v1/controller                      | + +  + + + + +  + + + +  + + + + +  U U U U U
POST /v1/controller/stop                | + F  F F F F F  F F F F  F F F F F  U U U U U
POST /v1/controller/direct              | + F  F F F F F  F F F F  F F F F F  U U U U U
POST /v1/controller/certificate         | + F  F F F F F  F F F F  F F F F F  U U U U U
GET /v1/machines                        | + +  + + + F F  + + F F  + + F F +  U U U U U
POST /v1/machines                       | + +  F F F F F  F F F F  F F F F F  U U U U U
GET /v1/machines/:name                  | + +  + + + F F  + + F F  M M F F M  U U U U U
DELETE /v1/machines/:name               | + +  F F F F F  F F F F  F F F F F  U U U U U
POST /v1/machines/:name/queues          | + +  F F F F F  F F F F  F F F F F  U U U U U
POST /v1/machines/:name/policy          | + +  F F F F F  F F F F  F F F F F  U U U U U
POST /v1/machines/:name/check           | + +  + + + F F  + + F F  M M F F M  U U U U U
POST /v1/machines/:name/up              | + F  F F F F F  F F F F  F F F F F  U U U U U
POST /v1/machines/:name/invite          | + +  F F F F F  F F F F  F F F F F  U U U U U
DELETE /v1/machines/:name/invite        | + +  F F F F F  F F F F  F F F F F  U U U U U
POST /v1/machines/:name/invite-bundle   | + +  F F F F F  F F F F  F F F F F  U U U U U
POST /v1/prompts/:id                    | + F  F F F F F  F F F F  F F F F F  U U U U U
POST /v1/machines/:name/down            | + +  F F F F F  F F F F  F F F F F  U U U U U
GET /v1/machines/:name/files/stat       | + +  F F F F F  + + F F  F F F F F  U U U U U
GET /v1/machines/:name/files/list       | + +  F F F F F  + + F F  F F F F F  U U U U U
GET /v1/machines/:name/files/read       | + +  F F F F F  + + F F  F F F F F  U U U U U
POST /v1/machines/:name/files/write     | + +  F F F F F  F + F F  F F F F F  U U U U U
POST /v1/machines/:name/files/remove    | + +  F F F F F  F + F F  F F F F F  U U U U U
POST /v1/machines/:name/files/mkdir     | + +  F F F F F  F + F F  F F F F F  U U U U U
GET /v1/projects                        | + +  + + + F F  + + F F  + + F F +  U U U U U
POST /v1/projects                       | + +  F F F F F  F F F F  F F F F F  U U U U U
GET /v1/projects/:project               | + +  + + + F F  + + F F  + + F F +  U U U U U
DELETE /v1/projects/:project            | + +  F F F F F  F F F F  F F F F F  U U U U U
POST /v1/machines/:name/git/have        | + +  F + + F F  F F + +  M M F F F  U U U U U
POST /v1/machines/:name/git/receive     | + +  F + + F F  F F + +  M M F F F  U U U U U
POST /v1/machines/:name/git/fetch       | + +  F + + F F  F F + +  M M F F F  U U U U U
POST /v1/machines/:name/sync/push       | + +  F F F F F  F + F F  F F F F F  U U U U U
POST /v1/machines/:name/sync/pull       | + +  F F F F F  + + F F  F F F F F  U U U U U
GET /v1/execs                           | + +  F + + + +  F F F F  M M M M F  U U U U U
POST /v1/execs                          | + +  F + + F F  F F F F  M M F F F  U U U U U
GET /v1/execs/:id                       | + +  F + + + +  F F F F  N N N N F  U U U U U
GET /v1/execs/:id/logs                  | + +  F + + F +  F F F F  N N F N F  U U U U U
GET /v1/execs/:id/diff                  | + +  F + + F +  F F F F  N N F N F  U U U U U
GET /v1/execs/:id/watch                 | + +  F + + F +  F F F F  N N F N F  U U U U U
GET /v1/execs/:id/artifacts             | + +  F + + F +  F F F F  N N F N F  U U U U U
GET /v1/execs/:id/artifacts/read        | + +  F + + F +  F F F F  N N F N F  U U U U U
POST /v1/execs/:id/cancel               | + +  F + + F F  F F F F  N N F F F  U U U U U
GET /v1/execs-wait                      | + +  F + + + +  F F F F  N N N N F  U U U U U
GET /v1/audit                           | + +  F F F F F  F F F F  F F F F F  U U U U U
GET /v1/audit/verify                    | + +  F F F F F  F F F F  F F F F F  U U U U U
GET /v1/tokens                          | + +  F F F F F  F F F F  F F F F F  U U U U U
POST /v1/tokens                         | + +  F F F F F  F F F F  F F F F F  U U U U U
DELETE /v1/tokens/:id                   | + +  F F F F F  F F F F  F F F F F  U U U U U
`;

const marks: Readonly<Record<string, string>> = {
  forbidden: 'F',
  unauthorized: 'U',
  unknown_machine: 'M',
  exec_not_found: 'N',
};

/** What is sent to each route: that of the exec or machine of `box`. */
const requests: Readonly<Record<string, { query?: string; body?: unknown }>> = {
  'POST /v1/controller/certificate': { body: { overlap_ms: 1 } },
  'POST /v1/machines': { body: { name: 'new' } },
  'POST /v1/machines/:name/queues': { body: { concurrency: { gpu: 1 } } },
  'GET /v1/machines/:name/files/stat': { query: 'path_b64=eA' },
  'GET /v1/machines/:name/files/list': { query: 'path_b64=eA' },
  'GET /v1/machines/:name/files/read': { query: 'path_b64=eA' },
  'POST /v1/machines/:name/policy': { body: { policy: 'full' } },
  'POST /v1/machines/:name/sync/push': { query: 'path_b64=eA' },
  'POST /v1/machines/:name/sync/pull': { query: 'path_b64=eA' },
  'POST /v1/machines/:name/files/write': { query: 'path_b64=eA&write_id=0123456789abcdef' },
  'POST /v1/machines/:name/files/remove': { query: 'path_b64=eA', body: { recursive: false } },
  'POST /v1/machines/:name/files/mkdir': { query: 'path_b64=eA', body: { parents: false } },
  'POST /v1/projects': {
    body: { name: 'new', repo: { kind: 'url', url: 'https://example.org/new' } },
  },
  'POST /v1/machines/:name/git/have': { query: 'project=app', body: { want: ['a'.repeat(40)] } },
  'POST /v1/machines/:name/git/receive': {
    query: `project=app&commit=${'a'.repeat(40)}&object_format=sha1`,
  },
  'POST /v1/machines/:name/git/fetch': { query: 'project=app', body: { ref: 'main' } },
  'POST /v1/prompts/:id': { body: { answer: 'x' } },
  'GET /v1/execs': { query: 'machine=box' },
  'POST /v1/execs': { query: 'machine=box&exec_id=e-box' },
  'GET /v1/execs/:id/logs': {
    query: `select=${encodeURIComponent('{"streams":["stdout"],"follow":false}')}`,
  },
  'GET /v1/execs/:id/diff': { query: 'part=files' },
  'GET /v1/execs/:id/artifacts/read': { query: 'path_b64=eA' },
  'POST /v1/execs/:id/cancel': { body: { signal: 'TERM', grace_ms: 0 } },
  'GET /v1/execs-wait': { query: 'id=e-box&max_wait_ms=1' },
  'POST /v1/tokens': { body: { scopes: ['exec:read'] } },
};

const rows = new Map(
  table
    .split('\n')
    .filter((line) => /^[A-Z]+ \//.test(line))
    .map((line) => {
      const [name = '', cells = ''] = line.split('|');
      return [name.trim(), cells.trim().split(/\s+/)] as const;
    }),
);

let lab: DoorLab;
const secrets = new Map<Column, string>();
beforeAll(async () => {
  lab = await DoorLab.open();
  for (const column of columns) {
    const [scope = '', machine] = column.split(' @');
    if (/^(?:admin$|machines:|exec:|logs:|files:|sync:)/.test(scope))
      secrets.set(column, (await lab.token([scope], machine === undefined ? undefined : [machine])).token);
  }
  const { token: expired } = await lab.tokens.create({ kind: 'local' }, 'unix', {
    scopes: ['admin'],
    ttl_ms: 1,
  });
  const revoked = await lab.token(['admin']);
  await lab.tokens.revoke({ kind: 'local' }, 'unix', revoked.id);
  secrets.set('wrong token', `${revoked.id}.${'A'.repeat(43)}`);
  secrets.set('expired', expired);
  secrets.set('revoked', revoked.token);
  // What a machine has instead of a token: its public key.
  secrets.set('agent key', Buffer.alloc(32, 7).toString('base64url'));
});
afterAll(() => lab.close());

test('the table has a row for every route, and no other', () => {
  expect([...rows.keys()].sort()).toEqual(routes.map(({ method, url }) => `${method} ${url}`).sort());
  for (const [name, cells] of rows) expect([name, cells.length]).toEqual([name, columns.length]);
});

test('every scope is there alone, and every principal that is none', () => {
  expect(scopes.filter((scope) => !(columns as readonly string[]).includes(scope))).toEqual([]);
});

test('a machine is named in a path by nothing but /v1/machines/:name', () => {
  for (const { url } of routes) expect(url.includes(':name')).toBe(url.startsWith('/v1/machines/:'));
});

describe.each(routes.map((route) => [`${route.method} ${route.url}`, route] as const))(
  '%s',
  (name, route) => {
    // Where a route has no other answer to `follow=1`, that changes nothing.
    test.each(['', 'follow=1'])('by every kind of caller, %s', async (follow) => {
      const found = await Promise.all(
        columns.map(async (column) => [column, await outcome(column, name, route, follow)] as const),
      );
      const wanted = columns.map((column, at) => [column, rows.get(name)?.[at]] as const);
      expect(found).toEqual(wanted);
    });
  },
);

async function outcome(
  column: Column,
  name: string,
  { method, url }: (typeof routes)[number],
  follow: string,
): Promise<string> {
  const { query = '', body } = requests[name] ?? {};
  // A token of its own: `admin` would be gone for the others.
  const id = url.startsWith('/v1/tokens') ? (await lab.token(['exec:read'])).id : 'e-box';
  const path = url.replace(':name', 'box').replace(':id', id).replace(':project', 'app');
  const start =
    /^POST \/v1\/(?:execs|machines\/:name\/(?:files\/write|git\/receive|sync\/push|sync\/pull))$/.test(name);
  const answer = await lab.ask({
    method,
    path: `${path}?${[query, follow].filter(Boolean).join('&')}`,
    ...tlsOf(column),
    ...(method !== 'POST'
      ? {}
      : start
        ? { headers: { 'content-type': recordsContentType }, body: spec }
        : json(body ?? {})),
  });
  const code = errorOf(answer);
  // Refused for what the address has failed before: the same door.
  if (code === 'too_many_failures') return 'U';
  // The stand-in of the machine keeps neither logs nor worktrees.
  if (code === undefined || code === 'log_gone') return '+';
  return marks[code] ?? code;
}

/** The code of a JSON answer, or of the last record. */
function errorOf({ status, headers, bytes }: Answer): string | undefined {
  const body =
    headers['content-type'] === recordsContentType
      ? [...new RecordParser().push(bytes)].at(-1)
      : { kind: 'event', value: JSON.parse(bytes.toString()) };
  const { error } = (body?.kind === 'event' ? body.value : {}) as { error?: { code: string } };
  return error?.code ?? (status === 200 ? undefined : `status ${status}`);
}

function tlsOf(column: Column): Pick<Asked, 'tls'> {
  return column === 'local' ? {} : { tls: { token: secrets.get(column) } };
}

function json(body: unknown): Pick<Asked, 'headers' | 'body'> {
  return { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}

const spec = encodeRecord({
  kind: 'data',
  stream: streamId.spec,
  offset: 0,
  bytes: Buffer.from(
    JSON.stringify({
      exec_id: 'e-box',
      command: { kind: 'argv', argv: ['true'] },
      env: {},
      stdin: false,
      merge: false,
      mode: 'async',
    }),
  ),
});

describe('what is between controller and agent', () => {
  test.each(Object.keys(agentVerbs))('the verb %s is no request of the API, for nobody', async (verb) => {
    for (const column of ['local', 'admin'] as const)
      for (const path of [`/v1/${verb}`, `/v1/agent/${verb}`, `/v1/machines/box/${verb}`]) {
        const answer = await lab.ask({ method: 'POST', path, ...json({}), ...tlsOf(column) });
        expect([path, errorOf(answer)]).toEqual([path, 'unknown_verb']);
      }
  });

  test.each([
    ...Object.keys(agentVerbs),
    ...routes.map(({ method, url }) => `${method} ${url}`),
    'constructor',
  ])('an agent that asks its controller for %s is told that it answers no requests', async (verb) => {
    const { agentEnd, controllerEnd } = pipe();
    const agent = new Session({ transport: agentEnd, side: 'agent', clock: systemClock });
    // As the gateway makes it.
    const controller = new Session({ transport: controllerEnd, side: 'controller', clock: systemClock });
    await expect(call(agent, verb, {})).rejects.toMatchObject({ code: 'unknown_verb' });
    controller.end();
    await agent.closed;
  });
});
