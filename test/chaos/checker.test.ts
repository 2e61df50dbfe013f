import { describe, expect, test } from 'vitest';
import { readPrinted } from './answers.ts';
import { checkJob } from './checker.ts';
import type { Evidence } from './evidence.ts';
import type { Operation, OperationKind } from './history.ts';
import type { Story } from './plan.ts';
import { parseTruth } from './truth.ts';

/** One operation of a made-up history: what it printed, from when to when. */
interface Told {
  kind: OperationKind;
  printed?: unknown[] | string;
  from?: number;
  to?: number;
  /** 0 where nothing is said; null: it died of a signal. */
  status?: number | null;
  more?: Partial<Operation>;
}

interface World {
  shape?: Partial<Story['shape']>;
  notes?: string;
  stdout?: string;
  told: Told[];
  shimKilled?: boolean;
  input?: string;
}

function evidence({ shape, notes, stdout, told, shimKilled, input }: World): Evidence {
  const story = {
    id: 'j1',
    machine: 'local',
    atMs: 0,
    steps: [],
    shape: { kind: 'quick', way: 'argv', code: 3, ...shape },
  } as Story;
  const printed = told.map(({ kind, printed, from, to, status, more }, index) => {
    const operation: Operation = {
      n: index + 1,
      kind,
      args: [],
      story: 'j1',
      beganMs: from ?? index * 10,
      endedMs: to ?? (from ?? index * 10) + 5,
      ...(status !== null && { status: status ?? 0 }),
      killed: false,
      overdue: false,
      interrupted: false,
      stderr: '',
      ...more,
    };
    const text =
      typeof printed === 'string'
        ? printed
        : (printed ?? []).map((line) => `${JSON.stringify(line)}\n`).join('');
    return { operation, ...readPrinted(operation, Buffer.from(text)) };
  });
  return {
    story,
    truth: parseTruth(
      notes ?? 'start 1.5 a 100 5\nexit 2.5 3\n',
      Buffer.from(stdout ?? 'hi\n'),
      Buffer.alloc(0),
    ),
    printed,
    answers: printed.flatMap(({ answers }) => answers),
    shimKilled: shimKilled ?? false,
    ...(input !== undefined && { input: Buffer.from(input) }),
  };
}

const running = {
  ok: true,
  exec_id: 'j1',
  status: 'running',
  exit_code: null,
  pid: 100,
  stdout_bytes: 0,
  stderr_bytes: 0,
};
const finished = {
  ok: true,
  exec_id: 'j1',
  status: 'finished',
  exit_code: 3,
  reason: 'exited',
  stdout_bytes: 3,
  stderr_bytes: 0,
};
const lost = { ...finished, status: 'lost', exit_code: null, reason: 'shim_died', safe_to_retry: false };
const start: Told = { kind: 'start', printed: [running] };
const result: Told = { kind: 'result', printed: [finished] };
const refused = (code: string, more: object = {}) => [{ ok: false, error: { code, message: code, ...more } }];
const lastRead = (text: string, stream = 'stdout'): Told => ({
  kind: 'last_read',
  printed: text,
  more: { stream: stream as 'stdout' },
});
const log = (line: string, offset: number) => ({
  type: 'log',
  stream: 'stdout',
  line,
  offset,
  next_offset: offset + line.length + 1,
});

test('a history in which all is well breaks no rule', () => {
  const follow: Told = {
    kind: 'follow',
    printed: [log('hi', 0), { type: 'end', exec_id: 'j1', status: 'finished', complete: true }],
  };
  const wait: Told = { kind: 'wait', printed: [finished], status: 3 };
  expect(
    checkJob(evidence({ told: [start, follow, wait, result, lastRead('hi\n'), lastRead('', 'stderr')] })),
  ).toEqual([]);
});

// biome-ignore format: a history a line reads as the table that it is.
const wrong: readonly (readonly [title: string, rule: string, world: World])[] = [
  ['two starts of one id', 'starts_at_most_once', { notes: 'start 1.5 a 1 1\nstart 1.5 a 2 2\nexit 2.5 3\n', told: [] }],
  ['stdin that arrived as something else', 'starts_at_most_once', { input: 'ho\n', told: [] }],
  ['an exit without a start', 'accepted_is_started', { notes: '', told: [result] }],
  ['another exit code than the job wrote', 'exit_code_is_the_jobs_own', { notes: 'start 1.5 a 100 5\nexit 2.5 4\n', told: [result] }],
  ['success of a job that came to no end', 'exit_code_is_the_jobs_own', { notes: 'start 1.5 a 100 5\n', told: [{ kind: 'result', printed: [{ ...finished, exit_code: 0 }] }] }],
  ['a death by signal that nobody asked for', 'exit_code_is_the_jobs_own', { notes: 'start 1.5 a 100 5\n', told: [{ kind: 'result', printed: [{ ...finished, exit_code: 137, reason: 'signaled' }] }] }],
  ['a cancel that nobody asked for', 'exit_code_is_the_jobs_own', { told: [{ kind: 'result', printed: [{ ...finished, reason: 'cancelled' }] }] }],
  ['a running exec with an exit code', 'exit_code_is_the_jobs_own', { told: [{ kind: 'result', printed: [{ ...running, exit_code: 0 }] }] }],
  ['lost, though the shim was left alone', 'lost_only_where_proof_is_gone', { told: [{ kind: 'result', printed: [lost] }] }],
  ['not started, though it was', 'lost_only_where_proof_is_gone', { told: [{ kind: 'result', printed: [{ ...lost, reason: 'not_started' }] }] }],
  ['safe to retry, though it ran', 'lost_only_where_proof_is_gone', { shimKilled: true, told: [{ kind: 'result', printed: [{ ...lost, safe_to_retry: true }] }] }],
  ['running after it had finished', 'answers_never_go_back', { told: [result, { kind: 'result', printed: [running] }] }],
  ['another code than before', 'answers_never_go_back', { told: [result, { kind: 'result', printed: [{ ...finished, exit_code: 4 }] }] }],
  ['finished after it was lost', 'answers_never_go_back', { shimKilled: true, told: [{ kind: 'result', printed: [lost] }, result] }],
  ['a log that has shrunk', 'answers_never_go_back', { told: [result, { kind: 'result', printed: [{ ...finished, stdout_bytes: 2 }] }] }],
  ['another pid than the job has', 'answers_never_go_back', { told: [{ kind: 'start', printed: [{ ...running, pid: 7 }] }] }],
  ['a row of a list that went back', 'answers_never_go_back', { told: [result, { kind: 'list', printed: [{ execs: [{ exec_id: 'j1', status: 'running', exit_code: null }] }] }] }],
  ['0 of a client whose job failed', 'status_of_the_client', { told: [{ kind: 'wait', printed: [finished], status: 0 }] }],
  ['a stream without its last line', 'status_of_the_client', { told: [{ kind: 'watch', printed: [{ ...running, type: 'started' }], status: 0 }] }],
  ['a failure with status 0', 'status_of_the_client', { told: [{ kind: 'result', printed: refused('machine_offline') }] }],
  ['a client that was killed by something else', 'status_of_the_client', { told: [{ kind: 'result', more: { signal: 'SIGSEGV' }, status: null }] }],
  ['a client that has no end', 'status_of_the_client', { told: [{ kind: 'wait', more: { overdue: true, killed: true } }] }],
  ['a conflict with itself', 'conflict_only_for_another_request', { told: [start, { kind: 'start', printed: refused('conflict', { sent: 'yes' }), status: 1 }] }],
  ['both requests accepted', 'conflict_only_for_another_request', { told: [start, { kind: 'altered', printed: [{ ...running, attached: true }] }] }],
  ['known, and then not found', 'refusals_are_true', { told: [start, { kind: 'result', printed: refused('exec_not_found'), status: 1 }] }],
  ['nothing sent, and it ran', 'refusals_are_true', { told: [{ kind: 'start', printed: refused('machine_offline', { sent: 'no' }), status: 1 }] }],
  ['a defect that says so', 'refusals_are_true', { told: [{ kind: 'result', printed: refused('internal'), status: 1 }] }],
  ['a cancel that leaves processes', 'cancel_leaves_nothing', { told: [{ kind: 'cancel', printed: [{ ...finished, leftover_pids: [9] }], status: 1 }] }],
  ['less in the log than the job wrote', 'readers_get_the_bytes', { told: [result, lastRead('hi')] }],
  ['other bytes than the job wrote', 'readers_get_the_bytes', { told: [result, lastRead('ho\n')] }],
  ['a line twice', 'readers_get_the_bytes', { stdout: 'a\nb\n', told: [{ kind: 'follow', printed: [log('a', 0), log('a', 0), log('b', 2), { type: 'end', status: 'finished', complete: true }] }, lastRead('a\nb\n')] }],
  ['a line left out', 'readers_get_the_bytes', { stdout: 'a\nb\n', told: [{ kind: 'follow', printed: [log('b', 2), { type: 'end', status: 'finished', complete: true }] }, lastRead('a\nb\n')] }],
  ['an end too soon', 'readers_get_the_bytes', { stdout: 'a\nb\n', told: [{ kind: 'follow', printed: [log('a', 0), { type: 'end', status: 'finished', complete: true }] }, lastRead('a\nb\n')] }],
];

describe('a wrong history is found', () => {
  test.each(wrong)('%s', (_title, rule, world) => {
    expect(checkJob(evidence(world)).map((found) => found.rule)).toContain(rule);
  });
});

describe('what is no offence', () => {
  test('an answer for a machine that is away may know less, since it says how old it is', () => {
    const away = { ...running, machine_connected: false, as_of: new Date(2).toISOString() };
    expect(checkJob(evidence({ told: [result, { kind: 'result', printed: [away] }] }))).toEqual([]);
  });

  test('lost, where we killed the shim', () => {
    expect(checkJob(evidence({ shimKilled: true, told: [{ kind: 'result', printed: [lost] }] }))).toEqual([]);
  });

  test('a job that was ended between its last note and its end', () => {
    const ended = { ...finished, exit_code: 143, reason: 'cancelled' };
    expect(
      checkJob(
        evidence({
          told: [
            { kind: 'cancel', printed: [ended] },
            { kind: 'result', printed: [ended] },
          ],
        }),
      ),
    ).toEqual([]);
  });

  test('a conflict of the altered request, and a refusal of a client that could not reach anybody', () => {
    const altered: Told = { kind: 'altered', printed: refused('conflict', { sent: 'yes' }), status: 1 };
    const offline: Told = { kind: 'start', printed: refused('machine_offline', { sent: 'no' }), status: 1 };
    expect(checkJob(evidence({ told: [start, altered, offline] }))).toEqual([]);
  });
});
