import { afterAll, beforeAll, expect, test } from 'vitest';
import { DoorLab } from './door-lab.ts';

let lab: DoorLab;
beforeAll(async () => {
  lab = await DoorLab.open();
});
afterAll(() => lab.close());

/** What a token with these scopes is told that asks to send commits of `project` to `machine`. */
async function told(
  [scopes, only]: readonly [string[], string[]?],
  project: string,
  machine: string,
): Promise<unknown> {
  const { token } = await lab.token(scopes, only);
  const { bytes } = await lab.ask({
    method: 'POST',
    path: `/v1/machines/${machine}/git/have?${project}`,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ want: ['a'.repeat(40)] }),
    tls: { token },
  });
  return JSON.parse(bytes.toString()).error?.code ?? 'let in';
}

const app = 'project=app';
test.each<[readonly [string[], string[]?], string, string, string]>([
  [[['sync:write:app']], app, 'box', 'let in'],
  [[['sync:write:app']], 'project=other', 'box', 'forbidden'],
  [[['sync:write:app']], 'project=other&project=app', 'box', 'forbidden'],
  [[['sync:write:app']], '', 'box', 'forbidden'],
  [[['sync:write:app']], app, 'nowhere', 'unknown_machine'],
  [[['sync:write'], ['box']], app, 'box', 'let in'],
  [[['sync:write'], ['box']], app, 'other', 'unknown_machine'],
  [[['sync:write:app', 'exec:run:other']], 'project=mine', 'other', 'let in'],
  [[['sync:write:app', 'exec:run:other']], 'project=mine', 'box', 'unknown_machine'],
  [[['exec:run:box']], 'project=mine', 'box', 'let in'],
  [[['files:write:box']], app, 'box', 'forbidden'],
])('the scopes %j for %s on %s: %s', async (scopes, project, machine, outcome) => {
  expect(await told(scopes, project, machine)).toBe(outcome);
});
