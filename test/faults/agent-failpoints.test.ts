import type { Failpoint } from '@codex-remote/platform';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FailpointLab } from './support/failpoint-lab.ts';

/**
 * The agent is killed at each moment of an exec's life and another takes over. What is reported is compared with what the
 * job wrote down itself: it began at most once, and the outcome is the one that this moment allows.
 */
let lab: FailpointLab;

beforeAll(async () => {
  lab = await FailpointLab.open();
  await lab.cli.json(['machine', 'up', 'local']);
});
afterAll(() => lab?.close());

const ran = { status: 'finished', reason: 'exited', exit_code: 7 };
const neverRan = { status: 'lost', reason: 'not_started', safe_to_retry: true, exit_code: null };

type Outcome = Readonly<Record<string, unknown>>;

/** Exactly one row in the history, which says what the machine says. */
async function outcome(id: string): Promise<Outcome> {
  await lab.cli.run(['exec', 'wait', '--id', id]);
  const result = await lab.cli.json(['exec', 'result', '--id', id]);
  const { execs } = (await lab.cli.json(['exec', 'list', '--limit', '1000'])) as {
    execs: Record<string, unknown>[];
  };
  const listed = execs.filter((exec) => exec.exec_id === id);
  expect(listed).toHaveLength(1);
  expect(listed[0]).toMatchObject({ status: result.status, exit_code: result.exit_code });
  return result;
}

const idOf = (point: Failpoint) => point.replaceAll(/[._]/g, '-');

describe('killed on the way of a start', () => {
  test.each<[Failpoint, Outcome]>([
    // Nothing was accepted: the controller sends the request again.
    ['agent.spec.before', ran],
    ['agent.spec.renamed', neverRan],
    ['agent.spec.after', neverRan],
    ['agent.identity.before', neverRan],
    ['agent.identity.after', neverRan],
    ['agent.start_reply.before', ran],
    ['agent.start_reply.after', ran],
  ])(
    'at %s it ends as that moment allows, and the job began as often as it says [row 2] [row 3] [row 4] [row 55]',
    async (point, expected) => {
      const id = idOf(point);
      await lab.restartAgent(point);
      const start = lab.start(id, 'exit 7');
      await lab.replaceDeadAgent(point);
      expect(await start).toMatchObject({ ok: true, exec_id: id });
      expect(await outcome(id)).toMatchObject(expected);
      expect(await lab.starts(id)).toBe(expected === ran ? 1 : 0);
    },
  );

  // The spares are the first three, and at a start the fourth is made: for this job, or in the place of the spare it took.
  test.each<Failpoint>(['agent.shim_spawn.before', 'agent.shim_spawn.after'])(
    'at %s it runs once, or never: what is reported is what happened [row 2] [row 3]',
    async (point) => {
      const id = idOf(point);
      await lab.restartAgent(point, 'exit9:4');
      const start = lab.start(id, 'exit 7');
      await lab.replaceDeadAgent(point);
      await start;
      const end = await outcome(id);
      expect(end).toMatchObject((await lab.starts(id)) === 1 ? ran : neverRan);
    },
  );

  test('at agent.go.after it ran once, or never: what is reported is what happened [row 4]', async () => {
    await lab.restartAgent('agent.go.after');
    const start = lab.start('go-after', 'exit 7');
    await lab.replaceDeadAgent('agent.go.after');
    await start;
    const end = await outcome('go-after');
    const starts = await lab.starts('go-after');
    expect(end).toMatchObject(starts === 1 ? ran : neverRan);
  });
});

describe('killed on the way of an end', () => {
  test.each<Failpoint>([
    'agent.end.before',
    'agent.end.after',
    'agent.report.before',
    'agent.report.after',
    'agent.acknowledged.before',
    'agent.acknowledged.after',
  ])('at %s the code is reported all the same, once [row 1] [row 52]', async (point) => {
    const id = idOf(point);
    await lab.restartAgent(point);
    const start = lab.start(id, 'echo out; exit 7');
    await lab.replaceDeadAgent(point);
    await start;
    expect(await outcome(id)).toMatchObject({ ...ran, stdout_tail: 'out\n' });
    expect(await lab.starts(id)).toBe(1);
  });

  test('a report that is dropped is made again by the next session, once in the history [row 52]', async () => {
    await lab.restartAgent('agent.report.before', 'drop');
    const id = 'report-dropped';
    expect(await lab.start(id, 'exit 7')).toMatchObject({ ok: true });
    await lab.restartAgent();
    expect(await outcome(id)).toMatchObject(ran);
    expect(await lab.starts(id)).toBe(1);
  });
});

describe('killed on the way of a cancel', () => {
  const stubborn = 'trap "" TERM; echo ready; while :; do sleep 0.05; done';
  const meek = 'echo ready; exec sleep 60';

  // A grace that has passed while there was no agent is over: KILL comes at once.
  test.each<[Failpoint, job: string, grace: string, Outcome]>([
    ['agent.cancel.before', meek, '60s', { exit_code: 143, signal: 'SIGTERM' }],
    ['agent.cancel.after', meek, '60s', { exit_code: 143, signal: 'SIGTERM' }],
    ['agent.term.before', meek, '60s', { exit_code: 143, signal: 'SIGTERM' }],
    ['agent.term.after', meek, '60s', { exit_code: 143, signal: 'SIGTERM' }],
    ['agent.kill.before', stubborn, '100ms', { exit_code: 137, signal: 'SIGKILL' }],
    ['agent.kill.after', stubborn, '100ms', { exit_code: 137, signal: 'SIGKILL' }],
  ])('at %s the next agent goes on with it', async (point, job, grace, expected) => {
    const id = idOf(point);
    await lab.restartAgent(point);
    await lab.start(id, job);
    await lab.ready(id);
    const cancel = lab.cli.json(['exec', 'cancel', '--id', id, '--grace', grace]);
    await lab.replaceDeadAgent(point);
    expect(await cancel).toMatchObject({ ok: true });
    expect(await outcome(id)).toMatchObject({ status: 'finished', reason: 'cancelled', ...expected });
    expect(await lab.starts(id)).toBe(1);
  });
});
