import type { ExecReport } from '@codex-remote/protocol/schema';
import type { Channel } from '@codex-remote/protocol/wire';
import { afterEach, describe, expect, test } from 'vitest';
import { followReports } from '../../src/execs/reports.ts';
import { execsWorld, finished, running, unknownExec } from './machine-stand-in.ts';

const worlds: ReturnType<typeof execsWorld>[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.close();
});

/** A machine `box` that reports `snapshot` on each connection and answers `exec.get` as told. */
function machine(snapshot: readonly ExecReport[], get: (id: string) => unknown = unknownExec) {
  const world = execsWorld(['box']);
  worlds.push(world);
  const acks: string[] = [];
  const asked: string[] = [];
  const report = async (channel: Channel): Promise<void> => {
    await channel.send({ reports: snapshot });
    await channel.send({ snapshot_done: true });
    for await (const item of channel)
      if (item.kind === 'message') acks.push(...(item.value as { ack: string[] }).ack);
  };
  const connect = (): (() => void) => {
    const cut = world.connect('box', (channel, verb, params) => {
      if (verb === 'exec.reports') return report(channel);
      const { exec_id } = params as { exec_id: string };
      asked.push(exec_id);
      return get(exec_id);
    });
    const session = world.links.of('box').live?.session;
    if (!session) throw new Error('not connected');
    followReports(session, 'box', world.history, world.changes).catch(() => undefined);
    return cut;
  };
  const known = (id: string) => world.history.get('box', id)?.report.state;
  return { ...world, connect, acks, asked, known };
}

describe('after the snapshot of a machine', () => {
  test('an exec that was going on and that it does not name is asked for, and who waits for it is told', async () => {
    const box = machine([{ state: running('named') }], (id) => ({ state: finished(id) }));
    await box.history.record('box', [{ state: running('named') }, { state: running('silent') }]);
    const waiting = box.execs.wait(['silent'], undefined, 'all', undefined, new AbortController().signal);
    box.connect();
    expect(await waiting).toMatchObject({ done: true, execs: [{ state: { status: 'finished' } }] });
    await expect.poll(() => box.acks).toEqual(['silent']);
    expect(box.asked).not.toContain('named');
    expect(box.known('named')?.status).toBe('running');
  });

  test('one that the machine knows nothing of any more is lost, not running for ever', async () => {
    const box = machine([]);
    await box.history.record('box', [{ state: running('gone') }, { state: finished('done') }]);
    box.connect();
    await expect
      .poll(() => box.known('gone'))
      .toMatchObject({ status: 'lost', reason: 'state_removed', safe_to_retry: false, command: 'true' });
    expect(box.known('done')).toMatchObject({ status: 'finished', exit_code: 0 });
  });
});

test('an end whose acknowledgement was lost is reported again: one row, acknowledged each time [row 52]', async () => {
  const box = machine([{ state: finished('e') }]);
  box.connect()();
  box.connect();
  await expect.poll(() => box.acks).toContain('e');
  const { entries } = box.history.list({ limit: 10, ended_after_ms: 0 });
  expect(entries.map(({ report }) => report.state.exec_id)).toEqual(['e']);
});
