import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecSpec } from '@codex-remote/protocol/schema';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { finished, StoreLab } from '../support/store-lab.ts';
import { waitFor } from '../support/wait-for.ts';

let lab: StoreLab;
beforeEach(() => {
  lab = new StoreLab();
});
afterEach(() => lab.close());

const failed = { status: 'lost', reason: 'not_started', safe_to_retry: true, why: 'dependency_failed' };

/** Runs until it is let go, then exits with `code`. */
function start(id: string, code = 0, spec: Partial<ExecSpec> = {}) {
  return lab.start(`while [ ! -e ${join(lab.home, id)} ]; do sleep 0.02; done; exit ${code}`, {
    exec_id: id,
    ...spec,
  });
}
const letGo = (id: string) => writeFileSync(join(lab.home, id), '');

describe('--after', () => {
  it('waits for its predecessor and runs once that has exited with 0', async () => {
    await start('p');
    expect((await lab.start('exit 5', { exec_id: 'a', after: ['p'] })).state).toMatchObject({
      status: 'queued',
      reason: 'dependency',
      waiting_for: ['p'],
    });
    expect(lab.store.get('a')).not.toHaveProperty('position');
    letGo('p');
    expect(finished(await lab.store.ended('a')).exit_code).toBe(5);
  });

  it('never runs when it has not, says why, and so does what waits for that; after-any runs', async () => {
    await start('p', 3);
    await lab.start('true', { exec_id: 'a', after: ['p'] });
    await lab.start('true', { exec_id: 'b', after: ['a'] });
    await lab.start('exit 8', { exec_id: 'c', after_any: ['p', 'b'] });
    letGo('p');
    expect(await lab.store.ended('a')).toMatchObject({ ...failed, detail: 'p ended with exit code 3' });
    expect(await lab.store.ended('b')).toMatchObject({ ...failed, detail: 'a was lost (not_started)' });
    expect(finished(await lab.store.ended('c')).exit_code).toBe(8);
    lab.reopen();
    expect(lab.store.get('b')).toMatchObject(failed);
    expect(await lab.start('true', { exec_id: 'a', after: ['p'] })).toMatchObject({
      attached: true,
      state: failed,
    });
  });

  it('never runs after one that was cancelled, queued or not', async () => {
    await start('p');
    await lab.start('true', { exec_id: 'q', after: ['p'] });
    await lab.start('true', { exec_id: 'r', after: ['q'] });
    await lab.store.cancel('q', 'TERM', 0);
    expect(await lab.store.ended('r')).toMatchObject(failed);
    await lab.start('true', { exec_id: 's', after: ['p'] });
    await lab.store.cancel('p', 'KILL', 0);
    expect(await lab.store.ended('s')).toMatchObject(failed);
  });

  it('never runs after one that was lost; after-any does', async () => {
    await start('p');
    await lab.start('true', { exec_id: 'a', after: ['p'] });
    await lab.start('exit 2', { exec_id: 'b', after_any: ['p'] });
    const pid = await waitFor('the pid', () => {
      const state = lab.store.get('p');
      return state.status === 'running' && state.pid;
    });
    const shim = lab.table.all().find((stat) => lab.read('p', 'journal').includes(`"pid":${stat.pid},`));
    for (const stat of lab.table.sessionMembers(shim?.pid ?? 0)) process.kill(stat.pid, 'SIGKILL');
    process.kill(pid, 'SIGKILL');
    expect(await lab.store.ended('p')).toMatchObject({ status: 'lost' });
    expect(await lab.store.ended('a')).toMatchObject(failed);
    expect(finished(await lab.store.ended('b')).exit_code).toBe(2);
  });

  it('of what has ended already is decided at once', async () => {
    await lab.run('true', { exec_id: 'good' });
    await lab.run('exit 1', { exec_id: 'bad' });
    expect((await start('a', 0, { after: ['good'] })).state.status).toBe('running');
    expect((await start('b', 0, { after_any: ['bad', 'good'] })).state.status).toBe('running');
    const { state } = await start('c', 0, { after: ['good', 'bad'] });
    expect(state).toMatchObject({ ...failed, detail: 'bad ended with exit code 1' });
    lab.reopen();
    expect(lab.store.get('c')).toMatchObject(failed);
  });

  it('knows how one ended that retention has removed', async () => {
    lab.reopen({ retention: { maxCount: 0, maxAgeMs: 0, maxTotalBytes: 0 } });
    await lab.run('true', { exec_id: 'good' });
    await lab.run('exit 1', { exec_id: 'bad' });
    lab.store.acknowledge(['good', 'bad']);
    await waitFor('their removal', () => lab.store.unacknowledgedIds().length === 0 && gone('bad'));
    expect((await start('a', 0, { after: ['good'] })).state.status).toBe('running');
    expect((await start('b', 0, { after: ['bad'] })).state).toMatchObject(failed);
  });

  it('of an id that is not known, or of several, is refused and nothing is accepted', async () => {
    await start('pre-1');
    await start('pre-2');
    await expect(start('a', 0, { after: ['nobody'] })).rejects.toMatchObject({
      code: 'exec_not_found',
      message: 'exec_id not found: nobody, which --after names, is not known on the machine',
      details: { exec_id: 'a', sent: 'no' },
    });
    await expect(start('a', 0, { after_any: ['a'] })).rejects.toMatchObject({ code: 'exec_not_found' });
    await expect(start('a', 0, { after: ['pre-'] })).rejects.toMatchObject({ code: 'ambiguous_id' });
    expect(() => lab.store.get('a')).toThrow(expect.objectContaining({ code: 'exec_not_found' }));
    expect((await start('a', 0, { after: ['pre-2'] })).state).toMatchObject({ waiting_for: ['pre-2'] });
    expect((await start('b', 0, { after: ['pre-1', 'pre-1'] })).state).toMatchObject({
      waiting_for: ['pre-1'],
    });
  });

  it('takes a prefix that only one has', async () => {
    await start('predecessor');
    expect((await start('a', 0, { after: ['pred'] })).state).toMatchObject({ waiting_for: ['predecessor'] });
  });

  it('in a queue lets others pass until its predecessor has ended', async () => {
    await start('p');
    await start('a', 0, { queue: 'q', after: ['p'] });
    expect((await start('b', 0, { queue: 'q' })).state.status).toBe('running');
    letGo('p');
    await waitFor('a to wait for its turn', () => {
      const state = lab.store.get('a');
      return state.status === 'queued' && state.reason === 'queue_full';
    });
    letGo('b');
    await waitFor('a to run', () => lab.store.get('a').status === 'running');
  });

  it('a hundred that wait for one are all started, whatever the system has room for at once', async () => {
    await start('p');
    const ids = Array.from({ length: 100 }, (_, n) => `n${n}`);
    await Promise.all(ids.map((id) => lab.start(`exit 0`, { exec_id: id, after: ['p'] })));
    letGo('p');
    const ends = await Promise.all(ids.map((id) => lab.store.ended(id)));
    expect(new Set(ends.map((end) => finished(end).exit_code))).toEqual(new Set([0]));
  });
});

function gone(id: string): boolean {
  try {
    lab.store.get(id);
    return false;
  } catch {
    return true;
  }
}
