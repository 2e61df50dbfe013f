import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '@codex-remote/platform';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { overRetention } from '../../src/exec/retention.ts';
import { Tombstones } from '../../src/exec/tombstones.ts';
import { StoreLab } from '../support/store-lab.ts';
import { waitFor } from '../support/wait-for.ts';

const unlimited = { maxCount: 1e9, maxAgeMs: 1e15, maxTotalBytes: 1e15 };

describe('overRetention', () => {
  const ended = [
    { id: 'old', endedMs: 1_000, acknowledgedMs: 1_000, bytes: 10 },
    { id: 'new', endedMs: 3_000, acknowledgedMs: 3_000, bytes: 10 },
    { id: 'mid', endedMs: 2_000, acknowledgedMs: 2_000, bytes: 10 },
  ];
  it.each([
    ['count', { ...unlimited, maxCount: 2 }, ['old']],
    ['age', { ...unlimited, maxAgeMs: 1_500 }, ['mid', 'old']],
    ['size', { ...unlimited, maxTotalBytes: 25 }, ['old']],
    ['nothing', unlimited, []],
  ])('takes the oldest over the limit of %s', (_what, limits, expected) => {
    expect(overRetention(ended, limits, 4_000)).toEqual(expected);
  });

  it('counts the age of what was acknowledged late from then on', () => {
    const late = { id: 'late', endedMs: 1_000, acknowledgedMs: 3_500, bytes: 10 };
    const limits = { ...unlimited, maxAgeMs: 1_500 };
    expect(overRetention([late], limits, 4_000)).toEqual([]);
    expect(overRetention([late], limits, 5_001)).toEqual(['late']);
  });
});

describe('a store with room for one exec', () => {
  let lab: StoreLab;
  afterEach(() => lab.close());

  it('removes what is acknowledged, never what runs or is not, and remembers the id', async () => {
    lab = new StoreLab({ retention: { ...unlimited, maxCount: 1 } });
    const running = (await lab.start('exec sleep 60')).state.exec_id;
    const spec = lab.spec({ command: { kind: 'cmd', cmd: 'exit 6' } });
    await lab.store.start({ spec });
    const removed = await lab.store.ended(spec.exec_id);
    const unacknowledged = (await lab.run('true')).exec_id;
    const kept = (await lab.run('true')).exec_id;
    lab.store.acknowledge([running, spec.exec_id, kept, 'unknown']);
    await waitFor('its folder to go', () => !existsSync(join(lab.home, 'execs', spec.exec_id)));
    expect(lab.store.unacknowledgedIds().sort()).toEqual([running, unacknowledged].sort());
    for (const id of [running, unacknowledged, kept])
      expect(existsSync(join(lab.home, 'execs', id))).toBe(true);

    lab.reopen();
    expect(() => lab.store.get(spec.exec_id)).toThrow(
      expect.objectContaining({
        code: 'exec_not_found',
        details: expect.objectContaining({ facts: { removed_at: expect.any(String) } }),
      }),
    );
    expect(await lab.store.start({ spec })).toEqual({ state: removed, attached: true });
    await expect(lab.store.start({ spec: { ...spec, cwd: '/' } })).rejects.toMatchObject({
      code: 'conflict',
    });
    expect(lab.store.unacknowledgedIds().sort()).toEqual([running, unacknowledged].sort());
  });

  it('serves what ended while the machine was away for longer, and counts its age from the acknowledgement [row 51]', async () => {
    const dayMs = 24 * 3600 * 1000;
    let aheadMs = 0;
    const clock = { ...systemClock, wall: () => systemClock.wall() + aheadMs };
    const onDay = (day: number): void => {
      aheadMs = day * dayMs;
      lab.reopen();
    };
    lab = new StoreLab({ clock, retention: { ...unlimited, maxAgeMs: 14 * dayMs } });
    const early = (await lab.run('true')).exec_id;
    const late = (await lab.run('true')).exec_id;
    // A pass goes from the newest end to the oldest: this one would go before the two.
    const away = (await lab.run('echo kept; exit 6')).exec_id;
    const isThere = (id: string) => existsSync(join(lab.home, 'execs', id));
    lab.store.acknowledge([early]);
    onDay(28);
    await waitFor('the acknowledged one to go', () => !isThere(early));
    expect(lab.store.unacknowledgedIds().sort()).toEqual([away, late].sort());
    expect(lab.store.report(away, 100)).toMatchObject({
      state: { status: 'finished', exit_code: 6 },
      stdout_tail: { from: 0, bytes: new Uint8Array(Buffer.from('kept\n')) },
    });
    lab.store.acknowledge([late]);
    onDay(30);
    lab.store.acknowledge([away]);
    onDay(43);
    await waitFor('the one acknowledged on day 28 to go', () => !isThere(late));
    expect(isThere(away)).toBe(true);
    onDay(45);
    await waitFor('the one acknowledged on day 30 to go', () => !isThere(away));
  });

  it('keeps everything while tombstones cannot be written, and goes on once they can', async () => {
    lab = new StoreLab({ retention: { ...unlimited, maxCount: 0 } });
    const first = (await lab.run('true')).exec_id;
    const second = (await lab.run('true')).exec_id;
    // The list is locked for everybody else while a store has it open: its disk says no here.
    const add = vi.spyOn(Tombstones.prototype, 'add').mockImplementation(() => {
      throw Object.assign(new Error('database or disk is full'), { code: 'ERR_SQLITE_ERROR' });
    });
    lab.store.acknowledge([first]);
    await waitFor('the attempt', () => add.mock.results.some((result) => result.type === 'throw'));
    add.mockRestore();
    expect(existsSync(join(lab.home, 'execs', first))).toBe(true);
    lab.store.acknowledge([second]);
    await waitFor('both to go', () => readdirSync(join(lab.home, 'execs')).length === 0);
  });

  it('keeps nothing of an ephemeral exec once its end is acknowledged', async () => {
    lab = new StoreLab();
    const { exec_id } = await lab.run('true', { ephemeral: true });
    lab.store.acknowledge([exec_id]);
    expect(existsSync(join(lab.home, 'execs', exec_id))).toBe(false);
    expect(() => lab.store.get(exec_id)).toThrow(expect.objectContaining({ code: 'exec_not_found' }));
  });
});
