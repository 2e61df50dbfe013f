import { afterAll, beforeAll, expect, test } from 'vitest';
import { routes } from '../../src/http/routes.ts';
import { DoorLab } from './door-lab.ts';

let lab: DoorLab;
beforeAll(async () => {
  lab = await DoorLab.open();
});
afterAll(() => lab.close());

const about = routes.filter(({ url }) => url.startsWith('/v1/machines/:name/files/'));

/** What a token with these scopes is told about files of `box`. */
async function told(scopes: readonly string[], machines?: readonly string[]) {
  const { token } = await lab.token(scopes, machines);
  const answers: Record<string, string> = {};
  for (const { method, url } of about) {
    const path = `${url.replace(':name', 'box')}?path_b64=eA`;
    const headers = { 'content-type': 'application/json' };
    const body = method === 'POST' ? { headers, body: '{}' } : {};
    const { status } = await lab.ask({ method, path, tls: { token }, ...body });
    const verb = url.split('/').at(-1) ?? '';
    answers[verb] = status === 403 ? 'forbidden' : status === 404 ? 'not there' : 'let in';
  }
  return answers;
}

const reads = ['stat', 'list', 'read'];
const verbs = about.map(({ url }) => url.split('/').at(-1) ?? '');
const all = (word: string): Record<string, string> => Object.fromEntries(verbs.map((verb) => [verb, word]));
const onlyReads = Object.fromEntries(
  verbs.map((verb) => [verb, reads.includes(verb) ? 'let in' : 'forbidden']),
);

test.each<[string[], string[] | undefined, Record<string, string>]>([
  [['files:read'], undefined, onlyReads],
  [['files:read:box'], undefined, onlyReads],
  [['files:read'], ['box'], onlyReads],
  [
    ['files:read'],
    ['other'],
    { ...all('forbidden'), ...Object.fromEntries(reads.map((r) => [r, 'not there'])) },
  ],
  [['files:read:other', 'machines:read'], undefined, all('forbidden')],
  [['files:write:box'], undefined, all('let in')],
  [['files:write'], ['other'], all('not there')],
  [['exec:run', 'logs:read', 'sync:write'], undefined, all('forbidden')],
])('the scopes %j, limited to %j', async (scopes, machines, expected) => {
  expect(await told(scopes, machines)).toEqual(expected);
});
