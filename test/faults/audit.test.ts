import { readFileSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Failpoint } from '@codex-remote/platform';
import { Cli, needs, SmallDisk } from '@codex-remote/test/lab';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { FailpointLab } from './support/failpoint-lab.ts';

type Entry = Record<string, unknown>;

describe('a controller that is killed while it records a start', () => {
  let lab: FailpointLab;
  beforeAll(async () => {
    lab = await FailpointLab.open();
    await lab.cli.json(['machine', 'up', 'local']);
  });
  afterAll(() => lab?.close());

  const entriesOf = async (id: string): Promise<Entry[]> =>
    ((await lab.cli.json(['audit', 'list', '--limit', '1000'])).entries as Entry[])
      .filter(({ exec_id }) => exec_id === id)
      .reverse();

  test.each<[Failpoint, number]>([
    // The first that it comes by is its own start.
    ['controller.audit.before', 2],
    ['controller.audit.written', 2],
    ['controller.audit.after', 2],
    ['controller.start.before', 1],
    ['controller.start.after', 1],
    ['controller.audit.before', 3],
    ['controller.audit.written', 3],
  ])('at %s (%i): what runs is in the log, and the log is whole', async (point, nth) => {
    const id = `${point.replaceAll(/[._]/g, '-')}-${nth}`;
    const pid = await lab.restartController(point, `exit9:${nth}`);
    const answer = await lab.start(id, 'exit 7');
    await lab.controllerDied(point, pid);
    const entries = await entriesOf(id);
    const ran = (await lab.starts(id)) > 0;
    if (ran || answer.ok) expect(entries[0]).toMatchObject({ verb: 'exec.start', result: 'requested' });
    if (point === 'controller.audit.before' && nth === 2) expect(ran).toBe(false);
    expect(await lab.cli.json(['audit', 'verify'])).toMatchObject({ ok: true });
    // The same line again starts it or attaches.
    expect(await lab.start(id, 'exit 7')).toMatchObject({ ok: true, exec_id: id });
    await lab.cli.json(['exec', 'wait', '--id', id], 7);
    expect(await lab.starts(id)).toBe(1);
    const after = await entriesOf(id);
    expect(after.filter(({ result }) => result === 'requested').length).toBeGreaterThanOrEqual(1);
    expect(after.at(-1)).toMatchObject({ result: ran ? 'attached' : 'accepted' });
  });

  test.each<Failpoint>([
    'controller.audit_rotate.before',
    'controller.audit_rotate.after',
    'controller.audit_remove.before',
    'controller.audit_remove.after',
  ])('at %s, while it begins a file or lets one go, loses no line', async (point) => {
    const settings = join(lab.cli.home, 'config/audit.json');
    const { head } = await lab.cli.json(['audit', 'verify']);
    await lab.cli.json(['controller', 'stop']);
    // More than that is there: the first line of the next controller goes to another file, and the oldest goes.
    await writeFile(settings, JSON.stringify({ segment_bytes: 512, keep_bytes: 1024 }));
    await lab.cli.json(['controller', 'start'], 1, { env: { CR_FP: `${point}:exit9` } });
    await rm(settings);
    const verdict = await lab.cli.json(['audit', 'verify']);
    expect(verdict).toMatchObject({ ok: true });
    expect((verdict.head as { seq: number }).seq).toBeGreaterThan((head as { seq: number }).seq);
  });
});

describe('a full disk under the audit log', () => {
  let cli: Cli;
  let disk: SmallDisk;
  beforeEach((context) => needs(context, 'root'));
  beforeAll(async () => {
    cli = await Cli.open();
    await cli.json(['machine', 'up', 'local']);
    await cli.json(['exec', 'run', '-m', 'local', '--id', 'before', '--brief', '--', 'echo', 'out']);
    await cli.json(['exec', 'start', '-m', 'local', '--id', 'long', '--', 'sleep', '600']);
    await cli.json(['controller', 'stop']);
    disk = await SmallDisk.under(join(cli.home, 'state/audit'), '1m');
    await cli.json(['controller', 'start']);
  });
  afterAll(async () => {
    await disk?.free();
    await cli?.run(['machine', 'down', 'local', '--purge']);
    await cli?.run(['controller', 'stop']);
    await disk?.close();
    await cli?.close();
  });

  test('nothing starts that could not be recorded; reads and cancels go on; what is missing is told', async () => {
    disk.fill();
    const truth = join(cli.home, 'ran');
    // What is left of the last block takes some lines still.
    for (let i = 0; i < 20; i++) {
      const { stdout } = await cli.run(['exec', 'start', '-m', 'local', '--id', `f${i}`, '--', 'true']);
      if (stdout.includes('disk_low')) break;
    }
    const refused = await cli.json(
      ['exec', 'start', '-m', 'local', '--id', 'full', '--cmd', `echo ran >>${truth}`],
      1,
    );
    expect(refused).toMatchObject({
      ok: false,
      error: {
        code: 'disk_low',
        retryable: true,
        sent: 'no',
        exec_id: 'full',
        message: expect.stringContaining('audit log'),
      },
    });
    await cli.json(['machine', 'add', 'box', '--ssh', 'nobody@192.0.2.1'], 1);
    expect(await cli.json(['exec', 'result', '--id', 'before'])).toMatchObject({
      exit_code: 0,
      stdout_tail: 'out\n',
    });
    expect(await cli.json(['exec', 'list'])).toMatchObject({ ok: true });
    expect(await cli.json(['exec', 'cancel', '--id', 'long', '--grace', '1s'])).toMatchObject({ ok: true });
    expect(await cli.json(['audit', 'verify'])).toMatchObject({ ok: true });
    await disk.free();
    expect(() => readFileSync(truth)).toThrow('ENOENT');
    // The id was never taken.
    await cli.json(['exec', 'run', '-m', 'local', '--id', 'full', '--brief', '--cmd', `echo ran >>${truth}`]);
    expect(await readFile(truth, 'utf8')).toBe('ran\n');
    const { entries } = await cli.json(['audit', 'list', '--verb', 'audit.missed']);
    expect((entries as Entry[]).length).toBeGreaterThanOrEqual(1);
    expect(await cli.json(['audit', 'verify'])).toMatchObject({ ok: true });
  });
});
