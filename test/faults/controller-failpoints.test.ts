import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import type { Failpoint } from '@codex-remote/platform';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FailpointLab } from './support/failpoint-lab.ts';

/** The controller is killed at each moment at which it writes, sends or acknowledges; the next command starts another. */
let lab: FailpointLab;

beforeAll(async () => {
  lab = await FailpointLab.open();
  await lab.cli.json(['machine', 'up', 'local']);
});
afterAll(() => lab?.close());

describe('killed while an exec starts and ends', () => {
  test.each<Failpoint>([
    'controller.start.before',
    'controller.start.after',
    'controller.history.before',
    'controller.history.after',
    'controller.acknowledge.before',
    'controller.acknowledge.after',
  ])(
    'at %s one process runs, and its end is in the history once [row 10] [row 52] [row 55]',
    async (point) => {
      const id = point.replaceAll(/[._]/g, '-');
      const pid = await lab.restartController(point);
      const start = lab.start(id, 'echo out; exit 7');
      await lab.controllerDied(point, pid);
      const { ok, error } = await start;
      // Where its answer was lost, the caller is told so and sends the same line again.
      if (!ok) expect(error).toMatchObject({ exec_id: id, sent: 'unknown' });
      if (!ok) expect(await lab.start(id, 'echo out; exit 7')).toMatchObject({ ok: true, exec_id: id });
      const end = await lab.cli.json(['exec', 'wait', '--id', id], 7);
      expect(end).toMatchObject({ status: 'finished', reason: 'exited', exit_code: 7, stdout_tail: 'out\n' });
      expect(await lab.starts(id)).toBe(1);
      const { execs } = await lab.cli.json(['exec', 'list', '--limit', '1000']);
      const rows = (execs as Record<string, unknown>[]).filter((exec) => exec.exec_id === id);
      expect(rows).toMatchObject([{ status: 'finished', exit_code: 7 }]);
      // Or the next controller would be told of it, and die before its time.
      await lab.noted('acknowledged', id);
      await lab.noted('acknowledged', id);
    },
  );

  test('an acknowledgement that is lost is made up for by the next session [row 52]', async () => {
    await lab.restartController('controller.acknowledge.before', 'drop');
    await lab.start('ack-lost', 'exit 7');
    await lab.cli.json(['exec', 'wait', '--id', 'ack-lost'], 7);
    await lab.restartController();
    await lab.noted('acknowledged', 'ack-lost');
    const { execs } = await lab.cli.json(['exec', 'list', '--limit', '1000']);
    expect((execs as Record<string, unknown>[]).filter((exec) => exec.exec_id === 'ack-lost')).toHaveLength(
      1,
    );
  });
});

describe('killed while the registry is written', () => {
  test.each<[Failpoint, boolean]>([
    ['controller.registry.before', false],
    ['durable.before', false],
    ['durable.rename', false],
    ['durable.after', true],
    ['controller.registry.after', true],
  ])('at %s the file is the old one or the new one, whole [row 38]', async (point, added) => {
    const name = point.replaceAll(/[._]/g, '-');
    const pid = await lab.restartController(point);
    const add = lab.cli.run(['machine', 'add', name, '--ssh', 'nobody@192.0.2.1']);
    await lab.controllerDied(point, pid);
    await add;
    const { machines } = await lab.cli.json(['machine', 'list']);
    const names = (machines as { machine: string }[]).map(({ machine }) => machine);
    expect(names.includes('local')).toBe(true);
    expect(names.includes(name)).toBe(added);
    const left = await readdir(lab.file('config'));
    expect(left.filter((file) => file.startsWith('.tmp-'))).toEqual([]);
    await lab.cli.json(['machine', 'show', 'local']);
  });
});

describe('killed while projects are written', () => {
  test.each<[Failpoint, boolean]>([
    ['controller.projects.before', false],
    ['controller.projects.after', true],
  ])('at %s a project is there whole or not at all [row 38]', async (point, added) => {
    const name = point.replaceAll('.', '-');
    const pid = await lab.restartController(point);
    const add = lab.cli.run(['project', 'add', name, '--repo', 'https://example.org/app.git']);
    await lab.controllerDied(point, pid);
    await add;
    const { projects } = await lab.cli.json(['project', 'list']);
    expect((projects as { project: string }[]).some(({ project }) => project === name)).toBe(added);
  });
});

describe('killed while tokens are written', () => {
  const list = async () => (await lab.cli.json(['token', 'list'])).tokens as Record<string, unknown>[];
  beforeAll(async () => {
    const url = 'https://controller.example';
    await lab.cli.json(['controller', 'start', '--listen', '127.0.0.1:0', '--public-url', url]);
  });
  afterAll(() => lab.cli.json(['controller', 'start', '--no-listen']));

  test.each<[Failpoint, boolean]>([
    ['controller.tokens.before', false],
    ['controller.tokens.after', true],
  ])(
    'at %s a token that was not answered gives nobody its secret, and all others are whole [row 38]',
    async (point, kept) => {
      await lab.restartController();
      const before = await list();
      const pid = await lab.restartController(point);
      const file = lab.file(`${point}.token`);
      const create = lab.cli.run(['token', 'create', '--scope', 'admin', '--label', point, '--output', file]);
      await lab.controllerDied(point, pid);
      expect((await create).status).toBe(1);
      expect(existsSync(file)).toBe(false);
      const labels = (await list()).map(({ label }) => label);
      expect(labels).toEqual([...before.map(({ label }) => label), ...(kept ? [point] : [])]);
    },
  );

  test.each<[Failpoint, string]>([
    ['controller.tokens.before', 'active'],
    ['controller.tokens.after', 'revoked'],
  ])('at %s a revocation that was not answered is one that may be repeated', async (point, status) => {
    await lab.restartController();
    const { id } = await lab.cli.json(['token', 'create', '--scope', 'admin', '--label', 'to go']);
    const pid = await lab.restartController(point);
    const revoke = lab.cli.run(['token', 'revoke', String(id)]);
    await lab.controllerDied(point, pid);
    await revoke;
    expect((await list()).find((one) => one.id === id)?.status).toBe(status);
    expect(await lab.cli.json(['token', 'revoke', String(id)])).toMatchObject({ status: 'revoked' });
  });
});
