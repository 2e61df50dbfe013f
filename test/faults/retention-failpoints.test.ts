import type { Failpoint } from '@codex-remote/platform';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FailpointLab } from './support/failpoint-lab.ts';

const day = 24 * 3600 * 1000;

let lab: FailpointLab;
beforeAll(async () => {
  lab = await FailpointLab.open();
  await lab.cli.json(['machine', 'up', 'local']);
});
afterAll(() => lab?.close());

test.each<Failpoint>(['agent.tombstone.before', 'agent.tombstone.after', 'agent.removal.after'])(
  'killed at %s while retention removes an exec, its id is answered and never runs again [row 53]',
  async (point) => {
    const id = point.replaceAll(/[._]/g, '-');
    await lab.start(id, 'exit 7');
    await lab.cli.json(['exec', 'wait', '--id', id], 7);
    await lab.noted('acknowledged', id);
    await lab.stopAgent();
    await lab.age(id, 15 * day);
    await lab.startAgent(point);
    await lab.replaceDeadAgent(point);
    const again = await lab.start(id, 'exit 7');
    expect(again).toMatchObject({ ok: true, attached: true, status: 'finished', exit_code: 7 });
    expect(await lab.start(id, 'exit 8')).toMatchObject({ ok: false, error: { code: 'conflict' } });
    expect(await lab.starts(id)).toBe(1);
  },
);
