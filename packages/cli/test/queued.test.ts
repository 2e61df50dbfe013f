import { answerOf } from '@codex-remote/client';
import type { ExecState, ExecView } from '@codex-remote/protocol/schema';
import { describe, expect, test } from 'vitest';
import { oneLineOf } from '../src/commands/exec/render.ts';
import { queueText } from '../src/commands/machine/show-text.ts';
import { exitOfExec } from '../src/exit.ts';

const common = {
  exec_id: 'job',
  digest: 'd',
  mode: 'async',
  command: 'true',
  accepted_at: '2026-01-01T00:00:00.000Z',
  stdout_bytes: 0,
  stderr_bytes: 0,
} as const;
const view = (state: object): ExecView => ({
  machine: 'box',
  machine_connected: true,
  ssh_ok: null,
  state: { ...common, ...state } as ExecState,
});

const full = {
  status: 'queued',
  queue: 'gpu',
  reason: 'queue_full',
  position: 2,
  waiting_for: ['a', 'b', 'c', 'd'],
};

describe('a queued exec', () => {
  test.each<[object, string]>([
    [full, 'job on box: queued, place 2 in gpu, behind a, b, c …'],
    [
      { ...full, reason: 'queue_paused', waiting_for: undefined },
      'job on box: queued, place 2 in gpu, which is paused',
    ],
    [{ ...full, reason: 'starting', waiting_for: undefined }, 'job on box: queued, place 2 in gpu, starting'],
    [{ status: 'queued', reason: 'dependency', waiting_for: ['a'] }, 'job on box: queued, after a'],
    [{ status: 'queued' }, 'job on box: queued'],
  ])('tells a person its place and why: %o', (state, line) => {
    expect(oneLineOf(view(state))).toBe(line);
  });

  test('tells a program the same, that it is to wait, and nothing of output that cannot be', () => {
    const answer = answerOf(view(full), { now: 0, tails: 'default' });
    expect(answer).toMatchObject({ ...full, exit_code: null, next_action: 'wait' });
    expect(Object.keys(answer)).not.toContain('stdout_bytes');
    expect(exitOfExec(view(full))).toBe(75);
  });
});

test('an exec that was not started says why', () => {
  const state = {
    status: 'lost',
    reason: 'not_started',
    safe_to_retry: true,
    why: 'dependency_failed',
    detail: 'p ended with exit code 3',
  };
  expect(oneLineOf(view(state))).toBe(
    'job on box: lost (not_started), it never ran: p ended with exit code 3',
  );
  expect(answerOf(view(state), { now: 0, tails: 'none' })).toMatchObject({
    ...state,
    next_action: 'fix-config',
  });
  expect(exitOfExec(view(state))).toBe(255);
});

test('a queue in words', () => {
  expect(queueText({ queue: 'q', concurrency: 2, running: 1, queued: 0 })).toBe(
    '2 at once; 1 running, 0 queued',
  );
  expect(queueText({ queue: 'q', concurrency: 0, running: 0, queued: 3 })).toBe(
    'paused; 0 running, 3 queued',
  );
});
