import type { ExecState, ExecView } from '@codex-remote/protocol/schema';
import { expect, test } from 'vitest';
import { exitOfExec, exitOfFailure, exitOfMany } from '../src/exit.ts';

const common = {
  exec_id: 'a',
  digest: 'd',
  mode: 'run',
  command: 'c',
  accepted_at: '2026-01-01T00:00:00Z',
  stdout_bytes: 0,
  stderr_bytes: 0,
} as const;
type Finished = Extract<ExecState, { status: 'finished' }>;

function view(state: ExecState): ExecView {
  return { machine: 'box', machine_connected: true, ssh_ok: null, state };
}
function finished(
  reason: Finished['reason'],
  exit_code: number,
  ended_at = '2026-01-01T00:00:01Z',
): ExecView {
  return view({ ...common, status: 'finished', reason, exit_code, ended_at, duration_ms: 1 });
}
const lost = view({ ...common, status: 'lost', reason: 'reboot', safe_to_retry: false });
const running = view({ ...common, status: 'running' });

test.each([
  ['exited 0', finished('exited', 0), 0],
  ['exited 7', finished('exited', 7), 7],
  ['exited 255', finished('exited', 255), 255],
  ['killed', finished('signaled', 137), 137],
  ['timeout', finished('timeout', 143), 124],
  ['timeout that ended with 0', finished('timeout', 0), 124],
  ['cancelled that ended with 0', finished('cancelled', 0), 130],
  ['cancelled that ended with 9', finished('cancelled', 9), 9],
  ['not found', finished('failed_to_start', 127), 127],
  ['a start that failed and says 0', finished('failed_to_start', 0), 255],
  ['a code that would wrap to 0', finished('exited', 256), 255],
  ['lost', lost, 255],
  ['running', running, 75],
  ['queued', view({ ...common, status: 'queued' }), 75],
])('%s', (_name, state, code) => {
  expect(exitOfExec(state)).toBe(code);
});

test('several: all is 1 where one is not 0, any is the code of the first that ended', () => {
  expect(exitOfMany([finished('exited', 0), finished('exited', 0)], 'all')).toBe(0);
  expect(exitOfMany([finished('exited', 0), finished('exited', 9)], 'all')).toBe(1);
  expect(exitOfMany([finished('exited', 0), running], 'all')).toBe(75);
  expect(
    exitOfMany([finished('exited', 5, '2026-01-01T00:00:09Z'), finished('exited', 6), running], 'any'),
  ).toBe(6);
});

test('our own failures: 2 for usage, 255 where a remote code is expected, else 1', () => {
  expect(exitOfFailure('usage', 'exec run')).toBe(2);
  for (const command of ['exec run', 'exec watch', 'exec wait'])
    expect(exitOfFailure('unknown_machine', command)).toBe(255);
  for (const command of ['exec start', 'exec result', 'machine up', undefined])
    expect(exitOfFailure('unknown_machine', command)).toBe(1);
});
