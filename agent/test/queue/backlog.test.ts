import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
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

const queued = (id: string, name = '') => join(lab.home, 'queued', id, name);

/** Runs until its file is there; appends its id to `order`. */
function start(id: string, spec: Partial<ExecSpec> = {}) {
  return lab.start(
    `echo ${id} >>${join(lab.home, 'order')}; while [ ! -e ${join(lab.home, id)} ]; do sleep 0.02; done`,
    { exec_id: id, queue: 'q', ...spec },
  );
}
const letGo = (id: string) => writeFileSync(join(lab.home, id), '');
const order = () => readFileSync(join(lab.home, 'order'), 'utf8').trim().split('\n');
const statusOf = (id: string) => lab.store.get(id).status;

/** Every file below the home that has `text` in it. */
function filesWith(text: string, dir = lab.home): string[] {
  return readdirSync(dir, { withFileTypes: true, recursive: true }).flatMap((entry) => {
    const path = join(entry.parentPath, entry.name);
    return entry.isFile() && readFileSync(path, 'latin1').includes(text) ? [path] : [];
  });
}

describe('a queue', () => {
  it('runs one after the other in the order of acceptance, and says the place of who waits', async () => {
    expect((await start('a')).state).toMatchObject({ status: 'running', queue: 'q' });
    expect((await start('b')).state).toMatchObject({
      status: 'queued',
      queue: 'q',
      reason: 'queue_full',
      position: 1,
      waiting_for: ['a'],
    });
    await start('c');
    expect(lab.store.get('c')).toMatchObject({ status: 'queued', position: 2 });
    expect(lab.store.queues()).toEqual([{ queue: 'q', concurrency: 1, running: 1, queued: 2 }]);
    expect([lab.store.runningIds(), lab.store.queuedIds()]).toEqual([['a'], ['b', 'c']]);
    for (const id of ['a', 'b', 'c']) {
      await waitFor(`${id} to run`, () => statusOf(id) === 'running');
      letGo(id);
      expect(finished(await lab.store.ended(id)).exit_code).toBe(0);
    }
    expect(order()).toEqual(['a', 'b', 'c']);
    expect(readdirSync(join(lab.home, 'queued'))).toEqual([]);
  });

  it('starts more when it gets more places, and none at all with 0', async () => {
    lab.store.setQueues({ q: 0 });
    for (const id of ['a', 'b', 'c'])
      expect((await start(id)).state).toMatchObject({ status: 'queued', reason: 'queue_paused' });
    lab.store.setQueues({ q: 2 });
    await waitFor('two to run', () => lab.store.runningIds().length === 2);
    expect(statusOf('c')).toBe('queued');
    expect(lab.reopen().queues()).toEqual([{ queue: 'q', concurrency: 2, running: 2, queued: 1 }]);
  });

  it('does not hold up another one, nor what is in none', async () => {
    await start('a');
    await start('b');
    expect((await start('x', { queue: 'other' })).state.status).toBe('running');
    expect(await lab.run('exit 4')).toMatchObject({ exit_code: 4 });
  });

  it('a place that a start did not use is free again', async () => {
    expect((await start('a', { cwd: '/nowhere' })).state).toMatchObject({ reason: 'failed_to_start' });
    await expect(
      start('b', { command: { kind: 'argv', argv: ['true', 'x'.repeat(200_000)] } }),
    ).rejects.toMatchObject({
      code: 'args_too_long',
    });
    expect((await start('c')).state.status).toBe('running');
  });

  it('settings that are not ours are put aside: one at a time', async () => {
    lab.store.setQueues({ q: 5 });
    writeFileSync(join(lab.home, 'queues.json'), 'torn');
    lab.reopen();
    expect(existsSync(join(lab.home, 'queues.json.bad'))).toBe(true);
    await start('a');
    expect((await start('b')).state.status).toBe('queued');
  });
});

describe('a queued exec', () => {
  beforeEach(() => start('a'));

  it('that is cancelled never runs; the next one moves up', async () => {
    await start('b');
    await start('c');
    expect(await lab.store.cancel('b', 'TERM', 0)).toMatchObject({
      already_finished: false,
      leftover_pids: [],
      state: {
        status: 'finished',
        reason: 'cancelled',
        exit_code: 130,
        duration_ms: 0,
        cancel_requested: true,
      },
    });
    expect(lab.store.get('b')).not.toHaveProperty('started_at');
    expect(existsSync(queued('b'))).toBe(false);
    expect(lab.store.get('c')).toMatchObject({ position: 1 });
    expect(await lab.store.cancel('b', 'TERM', 0)).toMatchObject({ already_finished: true });
    letGo('a');
    await waitFor('c to run', () => order().length === 2);
    expect(order()).toEqual(['a', 'c']);
    lab.reopen();
    expect(lab.store.get('b')).toMatchObject({ reason: 'cancelled', exit_code: 130 });
  });

  it('that is cancelled while its shim is being made never runs either', async () => {
    // A variable of its own needs a shim of its own: that takes several trips to the disk.
    await start('b', { env: { A: '1' } });
    const cancelled = new Promise<unknown>((resolve) => {
      lab.store.onChange((state) => {
        if (state.exec_id !== 'a' || state.status !== 'finished') return;
        setImmediate(() => {
          expect(lab.store.get('b')).toMatchObject({ status: 'queued', reason: 'starting' });
          resolve(lab.store.cancel('b', 'TERM', 0));
        });
      });
    });
    letGo('a');
    expect(await cancelled).toMatchObject({ state: { reason: 'cancelled', exit_code: 130 } });
    expect(lab.store.get('b')).not.toHaveProperty('started_at');
    expect((await start('c')).state.status).toBe('running');
    expect(order()).not.toContain('b');
  });

  it('attaches who sends it again, and refuses another request of its id', async () => {
    await start('b');
    expect(await start('b')).toMatchObject({ attached: true, state: { status: 'queued', position: 1 } });
    await expect(start('b', { cwd: '/' })).rejects.toMatchObject({ code: 'conflict' });
  });

  it('has the values of --env in one private file, until it starts', async () => {
    const secret = 'hunter2-in-the-queue';
    await start('b', { env: { TOKEN: secret } });
    expect(filesWith(secret)).toEqual([queued('b', 'request')]);
    expect(statSync(queued('b', 'request')).mode & 0o777).toBe(0o600);
    expect(statSync(queued('b')).mode & 0o777).toBe(0o700);
    letGo('a');
    const pid = await waitFor('b to run', () => {
      const state = lab.store.get('b');
      return state.status === 'running' && state.pid;
    });
    expect(filesWith(secret)).toEqual([]);
    expect(readFileSync(`/proc/${pid}/environ`, 'latin1')).toContain(secret);
    await start('c', { env: { TOKEN: secret } });
    await lab.store.cancel('c', 'TERM', 0);
    expect(filesWith(secret)).toEqual([]);
  });

  it('starts with the script and the stdin that came with it', async () => {
    const spec = lab.spec({ exec_id: 'b', queue: 'q', command: { kind: 'script' }, stdin: true });
    const script = await lab.spool('#!/bin/sh\ncat; exit 6\n');
    const stdin = await lab.spool('from stdin');
    expect((await lab.store.start({ spec, script, stdin })).state.status).toBe('queued');
    lab.reopen();
    letGo('a');
    expect(finished(await lab.store.ended('b')).exit_code).toBe(6);
    expect(lab.read('b')).toBe('from stdin');
  });

  it('has its timeout counted from its start', async () => {
    await lab.start('sleep 0.3', { exec_id: 'b', queue: 'q', timeout_ms: 1_000 });
    const accepted = Date.now();
    await waitFor('the timeout to be over', () => Date.now() - accepted > 1_050);
    letGo('a');
    expect(finished(await lab.store.ended('b'))).toMatchObject({ reason: 'exited', exit_code: 0 });
  });

  it('whose directory has gone when its turn comes could not start', async () => {
    const cwd = join(lab.home, 'cwd');
    mkdirSync(cwd);
    await start('b', { cwd });
    rmSync(cwd, { recursive: true });
    letGo('a');
    expect(await lab.store.ended('b')).toMatchObject({
      reason: 'failed_to_start',
      exit_code: 126,
      spawn_error: expect.stringContaining(cwd),
    });
    expect(readdirSync(join(lab.home, 'queued'))).toEqual([]);
  });

  it('whose turn comes when the disk is low never runs, says why, and the next agent knows it', async () => {
    await start('b');
    lab.reopen({ diskReserveBytes: Number.MAX_SAFE_INTEGER });
    letGo('a');
    const lost = { status: 'lost', reason: 'not_started', why: 'disk_low', safe_to_retry: true };
    expect(await lab.store.ended('b')).toMatchObject(lost);
    lab.reopen();
    expect(lab.store.get('b')).toMatchObject(lost);
    expect(order()).toEqual(['a']);
  });
});
