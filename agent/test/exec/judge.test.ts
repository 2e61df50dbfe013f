import type { ExecEnded } from '@codex-remote/protocol/schema';
import { describe, expect, it } from 'vitest';
import { judge, lingerMs, type Probe } from '../../src/exec/judge.ts';
import type { FolderSnapshot } from '../../src/folder/folder.ts';
import type { ExitRecord } from '../../src/folder/record.ts';
import type { CancelIntent, StoredIdentity, StoredSpec } from '../../src/folder/stored.ts';

const spec: StoredSpec = {
  version: 1,
  exec_id: 'one',
  digest: 'd',
  mark: 'm'.repeat(32),
  host_id: 'host',
  boot_id: 'boot',
  command: 'true',
  cwd: '/',
  env_names: [],
  merge: false,
  mode: 'run',
  accepted_ms: 1_000,
  warnings: [],
};
const identity: StoredIdentity = { shim: { pid: 10, start: 5 }, started_ms: 2_000, started_uptime_ms: 50 };
const cancel: CancelIntent = { cause: 'cancel', signal: 'TERM', at_ms: 2_500, at_uptime_ms: 60, grace_ms: 0 };
const job = { pid: 20, start: 6 };

function record(said: Partial<ExitRecord> = {}): ExitRecord {
  return {
    aborted: false,
    noCwd: false,
    eof: new Set(),
    torn: new Set(),
    untouched: false,
    damaged: false,
    ...said,
  };
}
const drained = new Set(['stdout', 'stderr']);

interface Given {
  spec?: StoredSpec | null;
  identity?: StoredIdentity | null;
  record?: ExitRecord | null;
  cancel?: CancelIntent;
  orphaned?: boolean;
  end?: ExecEnded;
  journal?: null;
  shimText?: string;
}

function folder(given: Given): FolderSnapshot {
  const own = <T>(value: T | null | undefined, usual: T) => (value === null ? undefined : (value ?? usual));
  const [theSpec, theIdentity] = [own(given.spec, spec), own(given.identity, identity)];
  const theRecord = own(given.record, record());
  return {
    id: 'one',
    ...(given.journal !== null && {
      journal: {
        ...(theSpec && { spec: theSpec }),
        ...(theIdentity && { identity: theIdentity }),
        ...(given.cancel && { cancel: given.cancel }),
        ...(given.end && { end: given.end }),
        orphaned: given.orphaned ?? false,
        acknowledged: false,
      },
    }),
    ...(theRecord && { record: theRecord }),
    recordModifiedMs: 3_000,
    shimText: given.shimText ?? '',
    stdoutBytes: 1,
    stderrBytes: 2,
  };
}

const alive: Probe = {
  bootId: 'boot',
  nowMs: 9_000,
  exitKnownMs: 0,
  shimAlive: true,
  shimSessionAlive: true,
  jobAlive: true,
};
const gone: Probe = { ...alive, shimAlive: false, shimSessionAlive: false, jobAlive: false };

describe('judge', () => {
  it.each<[string, Given, Probe, object]>([
    ['runs under its shim', { record: record({ job }) }, alive, { status: 'running', pid: 20 }],
    ['runs before its first line', {}, alive, { status: 'running' }],
    [
      'exited and drained',
      { record: record({ job, exitCode: 3, eof: drained }) },
      gone,
      { status: 'finished', reason: 'exited', exit_code: 3, duration_ms: 1_000 },
    ],
    ['exited, pumps still at it', { record: record({ job, exitCode: 3 }) }, alive, { status: 'running' }],
    [
      'exited, pumps held for long',
      { record: record({ job, exitCode: 3 }) },
      { ...alive, exitKnownMs: lingerMs },
      { status: 'finished', exit_code: 3, writers_remaining: true },
    ],
    [
      'merged has one pump',
      { spec: { ...spec, merge: true }, record: record({ job, exitCode: 0, eof: new Set(['stdout']) }) },
      alive,
      { status: 'finished', exit_code: 0 },
    ],
    [
      '137 without a word is an exit',
      { record: record({ job, exitCode: 137, eof: drained }) },
      gone,
      { reason: 'exited', exit_code: 137 },
    ],
    [
      '137 with `Killed` is a signal',
      { record: record({ job, exitCode: 137, eof: drained }), shimText: 'Killed\n' },
      gone,
      { reason: 'signaled', signal: 'SIGKILL' },
    ],
    [
      'a pump that complains proves no signal',
      {
        record: record({ job, exitCode: 137, eof: drained }),
        shimText: '/bin/cat: write error: No space left\n',
      },
      gone,
      { reason: 'exited' },
    ],
    [
      'cancelled with 0',
      { record: record({ job, exitCode: 0, eof: drained }), cancel },
      gone,
      { reason: 'cancelled', exit_code: 0, cancel_requested: true },
    ],
    [
      'timed out',
      { record: record({ job, exitCode: 143, eof: drained }), cancel: { ...cancel, cause: 'timeout' } },
      gone,
      { reason: 'timeout', exit_code: 143 },
    ],
    [
      'an exit is known after a reboot [row 12]',
      { record: record({ job, exitCode: 4, eof: drained }) },
      { ...gone, bootId: 'other' },
      { status: 'finished', exit_code: 4 },
    ],
    [
      'lost by a reboot [row 12]',
      { record: record({ job }) },
      { ...gone, bootId: 'other' },
      { status: 'lost', reason: 'reboot', safe_to_retry: false },
    ],
    [
      'lost by a reboot before its identity',
      { identity: null },
      { ...gone, bootId: 'other' },
      { status: 'lost', reason: 'reboot', safe_to_retry: false },
    ],
    [
      'never started: no identity',
      { identity: null, record: record({ untouched: true }) },
      gone,
      { status: 'lost', reason: 'not_started', safe_to_retry: true },
    ],
    [
      'never started: the gate met its end',
      { record: record({ aborted: true }) },
      gone,
      { status: 'lost', reason: 'not_started', safe_to_retry: true },
    ],
    [
      'never started: nothing but a journal',
      { spec: null, identity: null, record: record({ untouched: true }) },
      gone,
      { status: 'lost', reason: 'not_started', safe_to_retry: true },
    ],
    [
      'its identity was removed after it had run',
      { identity: null, record: record({ job }) },
      gone,
      { status: 'lost', reason: 'state_removed', safe_to_retry: false },
    ],
    [
      'its journal was emptied, and its record too',
      { spec: null, identity: null },
      gone,
      { status: 'lost', reason: 'state_removed', safe_to_retry: false },
    ],
    [
      'its journal was emptied after its exit',
      { spec: null, identity: null, record: record({ job, exitCode: 7, eof: drained }) },
      gone,
      { status: 'finished', reason: 'exited', exit_code: 7 },
    ],
    [
      'damaged in its record',
      { record: record({ job, damaged: true }) },
      gone,
      { status: 'lost', reason: 'no_record', warnings: ['state_damaged'] },
    ],
    [
      'the directory went',
      { record: record({ noCwd: true }) },
      gone,
      { reason: 'failed_to_start', exit_code: 126 },
    ],
    [
      'shim gone, waiter there',
      { record: record({ job }) },
      { ...gone, shimSessionAlive: true },
      { status: 'running', warnings: ['supervisor_lost'] },
    ],
    [
      'shim gone, job there',
      { record: record({ job }) },
      { ...gone, jobAlive: true },
      { status: 'running', warnings: ['supervisor_lost'] },
    ],
    [
      'all gone at once',
      { record: record({ job }) },
      gone,
      { status: 'lost', reason: 'no_record', safe_to_retry: false },
    ],
    [
      'all gone after its shim',
      { record: record({ job }), orphaned: true },
      gone,
      { status: 'lost', reason: 'shim_died' },
    ],
    [
      'record removed',
      { record: null },
      gone,
      { status: 'lost', reason: 'state_removed', safe_to_retry: false },
    ],
    [
      'journal removed',
      { journal: null, record: record({ job }) },
      gone,
      { status: 'lost', reason: 'state_removed', safe_to_retry: false },
    ],
    [
      'everything removed',
      { journal: null, record: null },
      gone,
      { status: 'lost', reason: 'state_removed', safe_to_retry: false },
    ],
    [
      'lost bytes to a full disk',
      { record: record({ job, torn: new Set(['stdout']) }) },
      alive,
      { warnings: ['log_incomplete'] },
    ],
  ])('%s', (_what, given, probe, expected) => {
    expect(judge(folder(given), probe, 'host')).toMatchObject(expected);
  });

  it.each<[string, Given, boolean, object]>([
    ['what it needs is there', {}, true, { status: 'queued', queue: 'gpu' }],
    ['what it needs is gone', {}, false, { status: 'lost', reason: 'not_started', safe_to_retry: true }],
    [
      'its spec is torn',
      { spec: null },
      true,
      { status: 'lost', reason: 'not_started', safe_to_retry: true },
    ],
    ['its journal is gone', { journal: null }, true, { reason: 'not_started', safe_to_retry: true }],
    ['it was cancelled', { cancel }, true, { status: 'finished', reason: 'cancelled', exit_code: 130 }],
  ])('among the queued, %s: nothing has run, in whatever boot', (_what, given, startable, expected) => {
    const queuedSpec = { ...spec, queue: 'gpu' };
    const found = { ...folder({ spec: queuedSpec, identity: null, ...given }), queued: { startable } };
    for (const probe of [gone, { ...gone, bootId: 'other' }])
      expect(judge(found, probe, 'host')).toMatchObject(expected);
    if (given.spec !== null && given.journal !== null) expect(judge(found, gone, 'other')).toBeUndefined();
  });

  it('never answers 0 without an exit record', () => {
    for (const aborted of [false, true]) {
      for (const noCwd of [false, true]) {
        for (const known of [{ job }, {}]) {
          for (const probe of [alive, gone, { ...gone, bootId: 'other' }, { ...gone, jobAlive: true }]) {
            const state = judge(folder({ record: record({ ...known, aborted, noCwd }) }), probe, 'host');
            expect(state).not.toMatchObject({ exit_code: 0 });
          }
        }
      }
    }
  });

  it('a verdict stands, whatever the rest says', () => {
    const end = judge(folder({ identity: null }), gone, 'host') as ExecEnded;
    expect(judge(folder({ end, record: record({ job, exitCode: 0, eof: drained }) }), alive, 'host')).toBe(
      end,
    );
  });

  it('says nothing of the execs of another host', () => {
    expect(judge(folder({}), alive, 'other')).toBeUndefined();
  });
});
