import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { needs } from '@codex-remote/test/lab';
import { describe, expect, it } from 'vitest';

const fixture = join(import.meta.dirname, '../fixtures/pid-namespace.ts');

/** The scene in a pid namespace whose first process is `sh`, which reaps, or the scene itself, which does not. */
function play(scene: string, first: 'sh' | 'scene'): Record<string, unknown> {
  const node = [process.execPath, fixture, scene];
  const command = first === 'sh' ? ['sh', '-c', '"$@"; exit $?', 'sh', ...node] : node;
  return JSON.parse(
    execFileSync('unshare', ['-Urpf', '--mount-proc', ...command], { encoding: 'utf8', timeout: 60_000 }),
  );
}

describe('a pid that another process has taken', () => {
  it("the job's: a cancel neither signals nor names the stranger, and the exec is lost [row 15]", (test) => {
    needs(test, 'pid namespaces');
    expect(play('job', 'sh')).toMatchObject({
      leftover_pids: [],
      during: 'running',
      state: { status: 'lost', reason: 'no_record', safe_to_retry: false, cancel_requested: true },
      strangerLives: true,
    });
  });

  it("the shim's: the next agent takes the stranger neither for the shim nor for its session [row 15]", (test) => {
    needs(test, 'pid namespaces');
    expect(play('shim', 'sh')).toMatchObject({
      state: { status: 'lost', reason: 'no_record', safe_to_retry: false },
      already_finished: true,
      strangerLives: true,
    });
  });
});

it('zombies of shim and job that nobody reaps are dead: lost at once, nothing left to end [row 16]', (test) => {
  needs(test, 'pid namespaces');
  expect(play('zombies', 'scene')).toMatchObject({
    states: ['Z', 'Z'],
    state: { status: 'lost', reason: 'no_record' },
    cancel: { already_finished: true, leftover_pids: [] },
  });
});
