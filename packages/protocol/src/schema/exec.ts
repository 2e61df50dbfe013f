import { z } from 'zod';
import { logLimitActions, minLogLimitBytes } from '../wire/log-limit.ts';
import { artifactGlob, artifactsState, maxArtifactGlobs } from './artifacts.ts';
import { worktreeSpec, worktreeState } from './git.ts';
import { execId, queueName } from './names.ts';

/** What runs. Travels whole as the `spec` stream of a start; sizes are bounded by `maxSpecBytes`. */
export const execCommand = z.discriminatedUnion('kind', [
  /** One shell string. `shell`: absent = bash, else sh; `login` = the user's own; else a name or path. */
  z.strictObject({ kind: z.literal('cmd'), cmd: z.string().min(1), shell: z.string().min(1).optional() }),
  /** An exact argument vector, no shell. */
  z.strictObject({ kind: z.literal('argv'), argv: z.array(z.string()).min(1) }),
  /** A script that travels as the `script` stream; run by its `#!` line, else by `shell` as above. */
  z.strictObject({ kind: z.literal('script'), shell: z.string().min(1).optional() }),
]);
export type ExecCommand = z.infer<typeof execCommand>;

const noNul = (text: string) => !text.includes('\0');
const envName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'an environment name is [A-Za-z_][A-Za-z0-9_]*');

/** Ids or unique prefixes of them, of execs on the same machine. */
const predecessors = z.array(execId).min(1).max(64);

export const execSpec = z.strictObject({
  exec_id: execId,
  command: execCommand,
  /** Absolute, or `~/…` of the machine; absent = the home there. With `worktree`: also relative to it, absent = it. */
  cwd: z.string().min(1).refine(noNul).optional(),
  env: z.record(envName, z.string().refine(noNul, 'an environment value cannot hold a NUL')),
  /** A `stdin` stream follows; otherwise stdin is empty. */
  stdin: z.boolean(),
  /** Both streams go to stdout in the order they were written. */
  merge: z.boolean(),
  timeout_ms: z.number().int().positive().optional(),
  /** Between TERM and KILL when `timeout_ms` has passed. */
  grace_ms: z.number().int().nonnegative().optional(),
  /** Of each stream; absent = `defaultLogLimitBytes`. */
  log_limit_bytes: z.number().int().min(minLogLimitBytes).optional(),
  /** What is done at the limit; absent = `drop-oldest`. */
  log_limit_action: z.enum(logLimitActions).optional(),
  label: z.string().max(200).optional(),
  session: z.string().max(200).optional(),
  caller_cwd: z.string().optional(),
  mode: z.enum(['run', 'async']),
  /** A check of ours, not a job: in no history, and removed once its end is acknowledged. */
  ephemeral: z.boolean().optional(),
  /** It takes its turn there. With `queue`, `after` or `after_any` the agent must have the capability `queues`. */
  queue: queueName.optional(),
  /** It starts once all of these have exited with 0, and never when one has ended otherwise. */
  after: predecessors.optional(),
  /** It starts once all of these have ended, however they did. */
  after_any: predecessors.optional(),
  /** It runs at this commit. The agent must have the capability `git`. */
  worktree: worktreeSpec.optional(),
  /** What is kept of its working directory when it ends. The agent must have the capability `artifacts`. */
  artifacts: z.array(artifactGlob).min(1).max(maxArtifactGlobs).optional(),
});
export type ExecSpec = z.infer<typeof execSpec>;

export const maxSpecBytes = 4 * 1024 * 1024;

export const execStatus = z.enum(['queued', 'running', 'finished', 'lost']);
export type ExecStatus = z.infer<typeof execStatus>;

/** Why a finished exec ended. */
export const finishReason = z.enum(['exited', 'signaled', 'cancelled', 'timeout', 'failed_to_start']);
/** Why an exec has no exit code and never will have. `not_started` is the only one that is safe to repeat. */
export const lostReason = z.enum(['reboot', 'shim_died', 'no_record', 'not_started', 'state_removed']);

/** What a queued exec waits for: its turn, a queue that lets nothing start, its predecessors, or its start is under way. */
export const queuedReason = z.enum(['queue_full', 'queue_paused', 'dependency', 'starting']);
export type QueuedReason = z.infer<typeof queuedReason>;

/** RFC 3339 in UTC, as `toISOString` writes it: what orders a history is a time and nothing else. */
const instant = z
  .string()
  .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/)
  .refine((text) => Number.isFinite(Date.parse(text)), 'a time');

const common = {
  exec_id: execId,
  /** HMAC of the request under a key of the agent: the same id with the same digest attaches. */
  digest: z.string(),
  mode: z.enum(['run', 'async']),
  /** One line for lists; <= 200 characters, values of `--env` never in it. */
  command: z.string(),
  cwd: z.string().optional(),
  label: z.string().optional(),
  session: z.string().optional(),
  caller_cwd: z.string().optional(),
  accepted_at: instant,
  started_at: instant.optional(),
  stdout_bytes: z.number().int().nonnegative(),
  stderr_bytes: z.number().int().nonnegative(),
  /** How many of the oldest bytes of a stream are gone: its log was at its limit. Offsets count them. */
  stdout_dropped_bytes: z.number().int().positive().optional(),
  stderr_dropped_bytes: z.number().int().positive().optional(),
  timeout_ms: z.number().int().positive().optional(),
  cancel_requested: z.boolean().optional(),
  /** Nobody asked for the cancel: a log was at its limit and `log_limit_action` is `cancel`. */
  cancelled_by: z.literal('log_limit').optional(),
  ephemeral: z.boolean().optional(),
  queue: queueName.optional(),
  worktree: worktreeState.optional(),
  /** Something in the background still holds an output pipe; later output is kept. */
  writers_remaining: z.boolean().optional(),
  /** `supervisor_lost`, `log_incomplete`, `log_limit_off`, `log_held`, `state_damaged`, `environment_plain`, `environment_failed` … */
  warnings: z.array(z.string()).optional(),
};

/** What is left of one that has run. */
const kept = { artifacts: artifactsState.optional() };

/** What the agent knows of one exec: fields exist only where they can be true. */
export const execState = z.discriminatedUnion('status', [
  z.object({
    ...common,
    status: z.literal('queued'),
    reason: queuedReason.optional(),
    /** Among those that wait in its queue, from 1 on. */
    position: z.number().int().positive().optional(),
    /** The first of the execs whose end it waits for: predecessors, or those that have the places of its queue. */
    waiting_for: z.array(execId).optional(),
  }),
  z.object({
    ...common,
    status: z.literal('running'),
    pid: z.number().int().positive().optional(),
    /** Its job is over; what is kept of it, such as artifacts, is being put together. The verdict comes with that. */
    settling: z.literal(true).optional(),
    last_output_at: instant.optional(),
  }),
  z.object({
    ...common,
    status: z.literal('finished'),
    reason: finishReason,
    exit_code: z.number().int(),
    signal: z.string().max(32).optional(),
    ended_at: instant,
    duration_ms: z.number().nonnegative(),
    /** For `failed_to_start`: what could not be done. */
    spawn_error: z.string().optional(),
    leftover_pids: z.array(z.number().int()).optional(),
    ...kept,
  }),
  z.object({
    ...common,
    status: z.literal('lost'),
    reason: lostReason,
    ended_at: instant.optional(),
    safe_to_retry: z.boolean(),
    /** For `not_started`, where it is known: `dependency_failed`, or the code of the error that its start met. */
    why: z.string().max(64).optional(),
    /** `why` for people. */
    detail: z.string().max(1000).optional(),
    ...kept,
  }),
]);
export type ExecState = z.infer<typeof execState>;
export type ExecEnded = Extract<ExecState, { status: 'finished' | 'lost' }>;

export function isEnded(state: ExecState): state is ExecEnded {
  return state.status === 'finished' || state.status === 'lost';
}

/** The last raw bytes of a stream: `from` is the offset of the first of them, `bytes` are exact. */
export const streamTail = z.object({
  from: z.number().int().nonnegative(),
  bytes: z.custom<Uint8Array>((value) => value instanceof Uint8Array),
});
export type StreamTail = z.infer<typeof streamTail>;

export const execReport = z.object({
  state: execState,
  stdout_tail: streamTail.optional(),
  stderr_tail: streamTail.optional(),
});
export type ExecReport = z.infer<typeof execReport>;

/** Raw bytes kept as the tail in reports and history: enough for 2,000 bytes of text once escapes are out. */
export const reportTailBytes = 8 * 1024;

export const signalName = z.enum(['INT', 'TERM', 'KILL']);
export type SignalName = z.infer<typeof signalName>;

/** Which part of the logs; at most one of tail_lines, tail_bytes, from. Offsets are bytes of one stream. */
export const logSelection = z.strictObject({
  streams: z.array(z.enum(['stdout', 'stderr'])).min(1),
  /** Per stream, the last N lines. */
  tail_lines: z.number().int().nonnegative().optional(),
  tail_bytes: z.number().int().nonnegative().optional(),
  /** First offset per stream; absent = 0. Beyond the end of an ended exec is `protocol_error` only for resumes of ours. */
  from: z
    .strictObject({
      stdout: z.number().int().nonnegative().optional(),
      stderr: z.number().int().nonnegative().optional(),
    })
    .optional(),
  /** Epoch ms; lines written at or after / before. */
  since_ms: z.number().optional(),
  until_ms: z.number().optional(),
  /** Stop after so many payload bytes, all streams together. */
  max_bytes: z.number().int().positive().optional(),
  /** Go on until the exec has ended and everything is sent. */
  follow: z.boolean(),
});
export type LogSelection = z.infer<typeof logSelection>;
