import {
  execId,
  execState,
  isEnded,
  queueName,
  signalName,
  worktreeState,
} from '@codex-remote/protocol/schema';
import { logLimitActions } from '@codex-remote/protocol/wire';
import { z } from 'zod';

/**
 * What the journal of an exec's folder holds. Old folders outlive an agent's upgrade: fields are added here, never renamed.
 * Values of `--env` are in none of them; while an exec is queued its `request` has them, see `QueuedFolder`.
 */
export const storedSpec = z.object({
  version: z.literal(1),
  exec_id: execId,
  digest: z.string(),
  /** The random word that marks the job's processes. */
  mark: z.string().min(16),
  host_id: z.string(),
  /** Where it was accepted: it cannot have run in another boot. */
  boot_id: z.string(),
  /** One line for lists. */
  command: z.string(),
  cwd: z.string(),
  env_names: z.array(z.string()),
  merge: z.boolean(),
  mode: z.enum(['run', 'async']),
  label: z.string().optional(),
  session: z.string().optional(),
  caller_cwd: z.string().optional(),
  timeout_ms: z.number().optional(),
  grace_ms: z.number().optional(),
  log_limit_bytes: z.number().optional(),
  log_limit_action: z.enum(logLimitActions).optional(),
  ephemeral: z.boolean().optional(),
  /** Globs, from `cwd`. */
  artifacts: z.array(z.string()).optional(),
  queue: queueName.optional(),
  /** Whole ids. */
  after: z.array(execId).optional(),
  after_any: z.array(execId).optional(),
  worktree: worktreeState.optional(),
  /** Of an exec that was queued: the order in which they were accepted. */
  ticket: z.number().int().nonnegative().optional(),
  accepted_ms: z.number(),
  warnings: z.array(z.string()),
});
export type StoredSpec = z.infer<typeof storedSpec>;

/** Written before the gate opens. Without it nothing can have run in the same boot. */
export const storedIdentity = z.object({
  /** The outer shell of the shim; its session holds the waiter and the pumps. */
  shim: z.object({ pid: z.number().int().positive(), start: z.number() }),
  started_ms: z.number(),
  /** Milliseconds since boot: deadlines count on a clock that does not jump. */
  started_uptime_ms: z.number(),
  /** The files that the pumps write: another file of that name is not the log. */
  log_inodes: z.object({ stdout: z.number(), stderr: z.number() }).optional(),
});
export type StoredIdentity = z.infer<typeof storedIdentity>;

/** On disk before the first signal, so that a job that then ends is not taken for one that ended by itself. */
export const cancelIntent = z.object({
  cause: z.enum(['cancel', 'timeout', 'log_limit']),
  signal: signalName,
  at_ms: z.number(),
  at_uptime_ms: z.number(),
  grace_ms: z.number(),
});
export type CancelIntent = z.infer<typeof cancelIntent>;

/** The verdict, once there is one: it never changes. */
export const storedEnd = execState.refine(isEnded);

/** One line of the journal: exactly one of these, with what belongs to it. */
export const journalLine = z.object({
  spec: storedSpec.optional(),
  identity: storedIdentity.optional(),
  cancel: cancelIntent.optional(),
  /** The shim was seen dead while its job lived. */
  orphaned: z.literal(true).optional(),
  /** Something that is to be told of the exec from now on. */
  warning: z.string().optional(),
  end: storedEnd.optional(),
  acknowledged: z.literal(true).optional(),
  acknowledged_ms: z.number().optional(),
});
export type JournalLine = z.input<typeof journalLine>;

/** Undefined for what is torn, empty or not ours: the rest of the folder decides then. */
export function parseStored<T>(schema: z.ZodType<T>, text: string): T | undefined {
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
