import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { systemClock } from '@codex-remote/platform';
import type { Clock } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { finished, StoreLab } from '../support/store-lab.ts';
import { waitFor } from '../support/wait-for.ts';

const dayMs = 24 * 3600 * 1000;
let lab: StoreLab;
/** What the wall clock was set wrong by. */
let offMs = 0;
const clock: Clock = { ...systemClock, wall: () => systemClock.wall() + offMs };

beforeEach(() => {
  offMs = 0;
  lab = new StoreLab({ clock });
});
afterEach(() => lab.close());

it.each([dayMs, -dayMs])(
  'the wall clock jumps by %i ms: deadlines hold, and what runs is found again [row 47]',
  async (jump) => {
    const go = join(lab.home, 'go');
    const { state } = await lab.start(`while [ ! -e ${go} ]; do sleep 0.02; done; exit 7`, {
      timeout_ms: 60_000,
    });
    const short = await lab.start('sleep 60', { timeout_ms: 700, grace_ms: 0 });
    offMs = jump;
    lab.reopen();
    expect(lab.store.get(state.exec_id).status).toBe('running');
    expect(finished(await lab.store.ended(short.state.exec_id))).toMatchObject({ reason: 'timeout' });
    expect(lab.store.get(state.exec_id).status).toBe('running');
    writeFileSync(go, '');
    const ended = finished(await lab.store.ended(state.exec_id));
    expect(ended).toMatchObject({ reason: 'exited', exit_code: 7 });
    // It ran for a second or so, whatever the clock on the wall says.
    expect(ended.duration_ms).toBeLessThan(dayMs / 2);
  },
);

const shifted = ['-T', '--boottime', '864000', '--monotonic', '864000'];
const allowed = spawnSync('unshare', [...shifted, 'true']).status === 0;

it.skipIf(!allowed)(
  `an agent whose time since boot is another one finds what runs and takes nobody for reused${allowed ? '' : ' (skipped: unshare -T is not permitted here)'} [row 47]`,
  async () => {
    const go = join(lab.home, 'go');
    const runs = join(lab.home, 'runs');
    const { state } = await lab.start(
      `echo run >>${runs}; while [ ! -e ${go} ]; do sleep 0.02; done; exit 7`,
    );
    await waitFor('the job', () => existsSync(runs));
    lab.store.close();
    const fixture = join(import.meta.dirname, '../fixtures/adopt.ts');
    const child = spawn('unshare', [...shifted, process.execPath, fixture, lab.home, state.exec_id], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines: Record<string, unknown>[] = [];
    const closed = new Promise((resolve) => child.once('close', resolve));
    createInterface(child.stdout).on('line', (line) => lines.push(JSON.parse(line)));
    await waitFor('what it finds', () => lines.length > 0);
    expect(lines[0]).toMatchObject({ status: 'running' });
    expect(lines[0]?.warnings).toBeUndefined();
    writeFileSync(go, '');
    await closed;
    expect(lines[1]).toMatchObject({ status: 'finished', exit_code: 7 });
    expect(readFileSync(runs, 'utf8')).toBe('run\n');
  },
);
