import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { finished } from '../execs/machine-stand-in.ts';
import { DoorLab } from './door-lab.ts';

let lab: DoorLab;
/** Tokens that may everything but manage, on the machine `box` alone. */
const limited: string[] = [];
beforeAll(async () => {
  lab = await DoorLab.open();
  const all = ['machines:read', 'exec:run', 'exec:read', 'logs:read'];
  limited.push((await lab.token(all, ['box'])).token, (await lab.token(['exec:run:box'])).token);
  const tail = { from: 0, bytes: Buffer.from('secret of another machine') };
  await lab.world.history.record('other', [
    { state: { ...finished('e-other'), label: 'nightly' }, stdout_tail: tail, stderr_tail: tail },
  ]);
  await lab.world.history.record('box', [{ state: finished('e-box') }]);
});
afterAll(() => lab.close());

const get = (path: string, token: string | undefined) => lab.ask({ path, tls: { token } });
const json = async (path: string, token: string | undefined) =>
  JSON.parse((await get(path, token)).bytes.toString());

describe('for a token of one machine the execs and the name of another are not there', () => {
  const select = encodeURIComponent('{"streams":["stdout"],"follow":false}');
  const cancel = {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"signal":"TERM","grace_ms":0}',
  };

  /** As it is asked of what another machine has, and of what nobody has. */
  test.each([
    ['/v1/execs/ID', {}],
    ['/v1/execs/ID?machine=MACHINE', {}],
    [`/v1/execs/ID/logs?select=${select}`, {}],
    ['/v1/execs/ID/diff?part=files', {}],
    ['/v1/execs/ID/watch', {}],
    ['/v1/execs/ID/watch?machine=MACHINE', {}],
    ['/v1/execs-wait?id=ID&max_wait_ms=1', {}],
    ['/v1/execs-wait?id=e-box&id=ID&max_wait_ms=1', {}],
    ['/v1/execs/ID/cancel', cancel],
    ['/v1/execs/ID/cancel?machine=MACHINE', cancel],
    ['/v1/execs?machine=MACHINE', {}],
    ['/v1/execs?machine=MACHINE&exec_id=new', { method: 'POST', headers: cancel.headers, body: '{}' }],
    ['/v1/machines/MACHINE', {}],
    ['/v1/machines/MACHINE/check', { ...cancel, body: '{}' }],
  ])('%s is answered with the same words', async (path, request) => {
    const fill = (id: string, machine: string) => path.replace('ID', id).replace('MACHINE', machine);
    for (const token of limited) {
      // Two names of one length and distance to every known one.
      const hidden = await lab.ask({ ...request, path: fill('e-other', 'other'), tls: { token } });
      const nowhere = await lab.ask({ ...request, path: fill('e-otheq', 'otheq'), tls: { token } });
      expect(hidden.bytes.toString()).toMatch(/exec_not_found|unknown_machine/);
      expect([hidden.status, hidden.bytes.toString().replaceAll('other', 'otheq')]).toEqual([
        nowhere.status,
        nowhere.bytes.toString(),
      ]);
      expect(hidden.bytes.toString()).not.toContain('nearest');
    }
  });

  test('no list has them, no count counts them, and no label finds them', async () => {
    for (const token of limited) {
      const { execs, total, more } = await json('/v1/execs?since_ms=0', token);
      expect(execs).toMatchObject([{ state: { exec_id: 'e-box' } }]);
      expect([total, more]).toEqual([1, false]);
      expect(await json('/v1/execs?since_ms=0&label=nightly', token)).toMatchObject({ execs: [], total: 0 });
      expect((await json('/v1/machines', token)).machines).toMatchObject([{ machine: 'box' }]);
      const status = await json('/v1/controller', token);
      expect([status.machines_connected, status.socket]).toEqual([1, undefined]);
    }
  });

  test('no prefix is ambiguous by them', async () => {
    const admin = (await lab.token(['admin'])).token;
    expect(await json('/v1/execs/e-', admin)).toMatchObject({ error: { code: 'ambiguous_id' } });
    for (const token of limited)
      expect(await json('/v1/execs/e-', token)).toMatchObject({ state: { exec_id: 'e-box' } });
  });

  test('a name that is nearly theirs suggests nothing of them', async () => {
    for (const token of limited) {
      const { error } = await json('/v1/machines/othr', token);
      expect(JSON.stringify(error)).not.toContain('other');
    }
  });
});

describe('tails are output', () => {
  test('exec:read gives states without them, logs:read gives them', async () => {
    const reader = (await lab.token(['exec:read'])).token;
    const logs = (await lab.token(['logs:read'])).token;
    for (const path of ['/v1/execs/e-other', '/v1/execs-wait?id=e-other']) {
      const plain = JSON.stringify(await json(path, reader));
      expect([path, plain.includes('e-other'), plain.includes('_tail')]).toEqual([path, true, false]);
      expect(JSON.stringify(await json(path, logs))).toContain('stdout_tail');
    }
  });

  test('what is kept of an exec is output: its number is no secret', async () => {
    const reader = (await lab.token(['exec:read'])).token;
    const logs = (await lab.token(['logs:read'])).token;
    const kept = async (token: string) => JSON.stringify(await json('/v1/execs/e-other', token));
    expect(await kept(reader)).toContain('"artifacts":{"files":[],"count":1,"bytes":1}');
    expect(await kept(logs)).toContain('report.md');
  });

  test('who may run on one machine and see all reads the output of that one alone', async () => {
    const { token } = await lab.token(['exec:read', 'exec:run:box']);
    expect(await json('/v1/execs/e-other', token)).not.toHaveProperty('stdout_tail');
    expect(await json('/v1/execs/e-box', token)).toHaveProperty('stdout_tail');
    expect(await json('/v1/execs/e-other/watch', token).catch(() => 'records')).toBe('records');
    const cancel = await lab.ask({
      method: 'POST',
      path: '/v1/execs/e-other/cancel',
      headers: { 'content-type': 'application/json' },
      body: '{"signal":"TERM","grace_ms":0}',
      tls: { token },
    });
    expect(cancel.status).toBe(403);
  });
});

test('how SSH is made is not for callers of the network to say', async () => {
  const body = JSON.stringify({
    config_path: '/tmp/evil',
    auth_sock: '/tmp/evil',
    accept_host_key: 'SHA256:x',
  });
  const request = {
    method: 'POST',
    path: '/v1/machines/box/check',
    headers: { 'content-type': 'application/json' },
    body,
  };
  const admin = (await lab.token(['admin'])).token;
  const there = JSON.parse((await lab.ask({ ...request, tls: { token: admin } })).bytes.toString());
  expect(there).toEqual({ machine: 'box', context: {} });
  const here = JSON.parse((await lab.ask(request)).bytes.toString());
  expect(here.context).toMatchObject({ config_path: '/tmp/evil' });
});
