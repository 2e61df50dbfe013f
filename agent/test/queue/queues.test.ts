import type { ExecState } from '@codex-remote/protocol/schema';
import { beforeEach, describe, expect, it } from 'vitest';
import { Leases } from '../../src/git/leases.ts';
import { Queues } from '../../src/queue/queues.ts';

let states: Map<string, ExecState>;
let concurrency: Record<string, number>;
let queues: Queues;
let leases: Leases;
beforeEach(() => {
  states = new Map();
  concurrency = {};
  leases = new Leases();
  queues = new Queues({
    concurrencyOf: (queue) => concurrency[queue] ?? 1,
    stateOf: (id) => states.get(id),
    leases,
  });
});

const state = (exec_id: string, more: object): ExecState => ({ exec_id, ...more }) as ExecState;
function become(id: string, more: object): void {
  const now = state(id, more);
  states.set(id, now);
  queues.changed(now);
}
const ended = { status: 'finished', reason: 'exited', exit_code: 0 };

function wait(id: string, waits: Parameters<Queues['add']>[1]): void {
  queues.add(id, waits);
  queues.release(id);
}

describe('a queue', () => {
  it('lets as many run as it has places, then the next in line', () => {
    expect(queues.admit('a', { queue: 'q' })).toEqual({ kind: 'met' });
    expect(queues.admit('b', { queue: 'q' })).toEqual({ kind: 'full' });
    for (const id of ['b', 'c', 'd']) wait(id, { queue: 'q' });
    expect(queues.decide()).toEqual([]);
    become('a', { ...ended, queue: 'q' });
    expect(queues.decide()).toEqual([{ id: 'b', kind: 'start' }]);
    expect(queues.decide()).toEqual([]);
    concurrency.q = 3;
    expect(queues.decide().map(({ id }) => id)).toEqual(['c', 'd']);
  });

  it('says place, reason and who is in the way', () => {
    queues.admit('a', { queue: 'q' });
    become('p', { status: 'running' });
    wait('b', { queue: 'q', after: ['p'] });
    wait('c', { queue: 'q' });
    wait('x', { queue: 'other' });
    expect(queues.placeOf('b')).toEqual({ reason: 'dependency', position: 1, waiting_for: ['p'] });
    expect(queues.placeOf('c')).toEqual({ reason: 'queue_full', position: 2, waiting_for: ['a'] });
    concurrency.q = 0;
    expect(queues.placeOf('c')).toEqual({ reason: 'queue_paused', position: 2 });
    expect(queues.placeOf('a')).toBeUndefined();
    expect(queues.view(['set'])).toEqual([
      { queue: 'other', concurrency: 1, running: 0, queued: 1 },
      { queue: 'q', concurrency: 0, running: 1, queued: 2 },
      { queue: 'set', concurrency: 1, running: 0, queued: 0 },
    ]);
  });

  it('lets the next one pass who waits for a predecessor, and gives it its turn after that', () => {
    become('p', { status: 'running' });
    queues.admit('a', { queue: 'q' });
    wait('b', { queue: 'q', after: ['p'] });
    wait('c', { queue: 'q' });
    wait('d', { queue: 'q' });
    become('a', ended);
    expect(queues.decide()).toEqual([{ id: 'c', kind: 'start' }]);
    become('p', ended);
    become('c', ended);
    expect(queues.decide()).toEqual([{ id: 'b', kind: 'start' }]);
  });

  it('is full for a newcomer while one that found it full is on its way to disk', () => {
    queues.admit('a', { queue: 'q' });
    queues.add('b', { queue: 'q' });
    become('a', ended);
    expect(queues.admit('c', { queue: 'q' })).toEqual({ kind: 'full' });
    queues.release('b');
    expect(queues.decide()).toEqual([{ id: 'b', kind: 'start' }]);
  });

  it('has its place back from a start that came to nothing', () => {
    queues.admit('a', { queue: 'q' });
    queues.leave('a');
    expect(queues.admit('b', { queue: 'q' })).toEqual({ kind: 'met' });
  });

  it('that is made smaller lets nobody in until enough have ended', () => {
    concurrency.q = 2;
    for (const id of ['a', 'b']) queues.admit(id, { queue: 'q' });
    wait('c', { queue: 'q' });
    concurrency.q = 1;
    become('a', ended);
    expect(queues.decide()).toEqual([]);
    become('b', ended);
    expect(queues.decide()).toEqual([{ id: 'c', kind: 'start' }]);
  });

  it('counts what an earlier agent started', () => {
    become('a', { status: 'running', queue: 'q' });
    expect(queues.admit('b', { queue: 'q' })).toEqual({ kind: 'full' });
  });
});

describe('a workspace', () => {
  const worktree = { project: 'site', workspace: 'build' };

  it('is waited for like the end of who has it, by those that wait for something', () => {
    leases.take('site', 'build', 'holder');
    expect(queues.admit('asked nothing', { worktree })).toEqual({ kind: 'met' });
    expect(queues.admit('a', { queue: 'q', worktree })).toEqual({ kind: 'open', ids: ['holder'] });
    become('p', { status: 'running' });
    wait('a', { queue: 'q', after: ['p'], worktree });
    wait('b', { queue: 'q' });
    expect(queues.placeOf('a')).toMatchObject({ reason: 'dependency', waiting_for: ['p', 'holder'] });
    become('p', ended);
    expect(queues.decide()).toEqual([{ id: 'b', kind: 'start' }]);
    become('b', { ...ended, queue: 'q' });
    expect(queues.decide()).toEqual([]);
    leases.end('holder');
    expect(queues.decide()).toEqual([{ id: 'a', kind: 'start' }]);
  });

  it('is given to one of those that could start at once', () => {
    concurrency.q = 5;
    wait('a', { queue: 'q', worktree });
    wait('b', { queue: 'q', worktree });
    wait('c', { queue: 'q', worktree: { ...worktree, workspace: 'other' } });
    expect(queues.decide().map(({ id }) => id)).toEqual(['a', 'c']);
    expect(queues.placeOf('b')).toMatchObject({ reason: 'dependency', waiting_for: ['a'] });
    leases.end('a');
    expect(queues.decide()).toEqual([{ id: 'b', kind: 'start' }]);
  });
});

describe('leases', () => {
  it('tell of what becomes free, also that of a start that was never accepted', () => {
    let told = 0;
    leases.onFree(() => told++);
    leases.take('site', 'build', 'a');
    leases.end('b');
    expect([told, leases.holder('site', 'build')]).toEqual([0, 'a']);
    leases.end('a');
    expect([told, leases.holder('site', 'build')]).toEqual([1, undefined]);
  });
});

describe('predecessors', () => {
  it.each<[string, object, 'met' | 'failed', 'met' | 'failed']>([
    ['exited with 0', ended, 'met', 'met'],
    ['exited with 3', { ...ended, exit_code: 3 }, 'failed', 'met'],
    ['was cancelled and exited with 0', { ...ended, reason: 'cancelled' }, 'failed', 'met'],
    ['was ended by its timeout', { ...ended, reason: 'timeout', exit_code: 143 }, 'failed', 'met'],
    ['could not start', { ...ended, reason: 'failed_to_start', exit_code: 127 }, 'failed', 'met'],
    ['was lost', { status: 'lost', reason: 'reboot' }, 'failed', 'met'],
  ])('one that %s: after is %s, after_any is %s', (_how, end, after, afterAny) => {
    become('p', end);
    expect(queues.admit('a', { after: ['p'] }).kind).toBe(after);
    expect(queues.admit('b', { after_any: ['p'] }).kind).toBe(afterAny);
  });

  it('that nobody knows any more have ended, nobody can say how', () => {
    expect(queues.admit('a', { after_any: ['gone'] })).toEqual({ kind: 'met' });
    expect(queues.admit('a', { after: ['gone'] })).toEqual({
      kind: 'failed',
      detail: 'how gone ended is not known any more',
    });
  });

  it('several: the first that failed decides, else all must have ended', () => {
    become('p', { status: 'running' });
    become('r', { status: 'queued' });
    wait('a', { after: ['p'], after_any: ['r'] });
    expect(queues.placeOf('a')).toEqual({ reason: 'dependency', waiting_for: ['p', 'r'] });
    become('p', ended);
    expect(queues.decide()).toEqual([]);
    become('r', { status: 'lost', reason: 'not_started' });
    expect(queues.decide()).toEqual([{ id: 'a', kind: 'start' }]);
    wait('b', { after: ['x', 'p'] });
    expect(queues.decide()).toMatchObject([{ id: 'b', kind: 'fail' }]);
  });
});
