import { constants } from 'node:os';
import type { ExecEnded, ExecState } from '@codex-remote/protocol/schema';
import type { FolderSnapshot } from '../folder/folder.ts';

/** What the process table says about one exec. Where it was not looked at, the careful answer: alive. */
export interface Probe {
  readonly bootId: string;
  readonly nowMs: number;
  /** The outer shell. */
  readonly shimAlive: boolean;
  /** Any process of the shim's session: the waiter can outlive the outer shell, and still records the exit. */
  readonly shimSessionAlive: boolean;
  /** The job itself or a member of its session. */
  readonly jobAlive: boolean;
  /** How long the exit record has been known; its pumps get `lingerMs`. */
  readonly exitKnownMs: number;
  /** When it was seen to come, for an exec that was watched then. */
  readonly exitSeenMs?: number;
  /** Milliseconds since boot when it was seen to come. */
  readonly exitSeenUptimeMs?: number;
}

/** How long an exec that has ended waits for its pumps before it is `finished` with `writers_remaining`. */
export const lingerMs = 200;

/**
 * The state of an exec: the one function that decides it, used live and at the agent's start. Pure. `undefined` for a
 * folder that another host made.
 *
 * What is certain comes first: a verdict that stands, then what the shim recorded, then what the agent recorded before
 * the gate opened, and the process table last.
 */
export function judge(folder: FolderSnapshot, probe: Probe, hostId: string): ExecState | undefined {
  const { journal, record } = folder;
  if (journal?.end) return journal.end;
  const { spec, identity } = journal ?? {};
  if (folder.queued) return queued(folder, probe, hostId);
  if (!spec) return withoutSpec(folder, probe);
  if (spec.host_id !== hostId) return undefined;
  if (record?.exitCode !== undefined) return exited(folder, probe, record.exitCode);
  if (record?.noCwd) return failedToStart(folder, probe.nowMs, 126, `the directory ${spec.cwd} had gone`);
  if (record?.aborted) return lost(folder, probe, 'not_started');
  if (spec.boot_id !== probe.bootId) return lost(folder, probe, 'reboot');
  // Written before the gate opens: an exec without it never ran, unless what says so was damaged.
  if (!identity) return lost(folder, probe, record?.untouched ? 'not_started' : 'state_removed');
  if (probe.shimAlive) return running(folder, []);
  // The waiter may be about to record the exit.
  if (probe.jobAlive || probe.shimSessionAlive) return running(folder, ['supervisor_lost']);
  if (!record) return lost(folder, probe, 'state_removed');
  return lost(folder, probe, journal?.orphaned ? 'shim_died' : 'no_record');
}

/** Nothing of it has run, in whatever boot: only a folder in `execs/` can have. */
function queued(folder: FolderSnapshot, probe: Probe, hostId: string): ExecState | undefined {
  const spec = folder.journal?.spec;
  if (spec && spec.host_id !== hostId) return undefined;
  if (folder.journal?.cancel) return cancelledInQueue(folder, probe.nowMs);
  if (!spec || !folder.queued?.startable) return notStarted(folder, probe.nowMs);
  return { ...common(folder), status: 'queued' };
}

/** What a caller of ours exits with when an exec was cancelled: it had no command that could have said another. */
const cancelledInQueueExitCode = 130;

/** A verdict for an exec that was cancelled before its start. */
export function cancelledInQueue(folder: FolderSnapshot, nowMs: number): ExecEnded {
  return {
    ...common(folder),
    status: 'finished',
    reason: 'cancelled',
    exit_code: cancelledInQueueExitCode,
    cancel_requested: true,
    ended_at: iso(nowMs),
    duration_ms: 0,
  };
}

/** Why an exec that was accepted could not be started, as a word and for people. */
export interface NotStarted {
  readonly why: string;
  readonly detail: string;
}

/** A verdict for an exec that was accepted, is not to start, and has not. */
export function notStarted(folder: FolderSnapshot, nowMs: number, cause?: NotStarted): ExecEnded {
  return {
    ...common(folder),
    status: 'lost',
    reason: 'not_started',
    ended_at: iso(nowMs),
    safe_to_retry: true,
    ...(cause && { why: cause.why, detail: cause.detail.slice(0, maxDetailCharacters) }),
  };
}

/** As the schema of an ExecState has it. */
const maxDetailCharacters = 1000;

/** A verdict for an exec that could not be started: nothing of it has run. */
export function failedToStart(
  folder: FolderSnapshot,
  nowMs: number,
  exitCode: number,
  why: string,
): ExecEnded {
  return {
    ...common(folder),
    status: 'finished',
    reason: 'failed_to_start',
    exit_code: exitCode,
    spawn_error: why,
    ended_at: iso(nowMs),
    duration_ms: 0,
  };
}

/** True once every pump has written everything. */
export function isDrained(folder: FolderSnapshot): boolean {
  const eof = folder.record?.eof;
  return eof?.has('stdout') === true && (folder.journal?.spec?.merge === true || eof.has('stderr'));
}

/** Its job is over, its verdict not told: something comes before that. */
export function settling(folder: FolderSnapshot): ExecState {
  return { ...common(folder), status: 'running', settling: true };
}

function running(folder: FolderSnapshot, warnings: string[]): ExecState {
  const pid = folder.record?.job?.pid;
  return {
    ...common(folder, warnings),
    status: 'running',
    ...(pid !== undefined && { pid }),
  };
}

function exited(folder: FolderSnapshot, probe: Probe, exitCode: number): ExecState {
  const drained = isDrained(folder);
  if (!drained && probe.exitKnownMs < lingerMs) return running(folder, []);
  const signal = deathSignal(folder, exitCode);
  const endedMs = endOf(folder, probe);
  const cause = folder.journal?.cancel?.cause;
  const reason =
    cause === 'timeout' ? 'timeout' : cause !== undefined ? 'cancelled' : signal ? 'signaled' : 'exited';
  return {
    ...common(folder),
    status: 'finished',
    reason,
    exit_code: exitCode,
    ...(signal && { signal }),
    ended_at: iso(endedMs),
    duration_ms: durationOf(folder, probe, endedMs),
    ...(!drained && { writers_remaining: true }),
  };
}

function lost(
  folder: FolderSnapshot,
  probe: Probe,
  reason: (ExecEnded & { status: 'lost' })['reason'],
): ExecState {
  return {
    ...common(folder),
    status: 'lost',
    reason,
    ended_at: iso(endOf(folder, probe)),
    safe_to_retry: reason === 'not_started',
  };
}

/**
 * The spec is there before the folder has its name: without it someone removed it, or power was lost before the exec was
 * accepted. The shim's record still proves how it ended, or that it never ran.
 */
function withoutSpec(folder: FolderSnapshot, probe: Probe): ExecState {
  const { journal, record } = folder;
  if (record?.exitCode !== undefined) return exited(folder, probe, record.exitCode);
  if (record?.aborted) return lost(folder, probe, 'not_started');
  const neverRan = journal !== undefined && journal.identity === undefined && record?.untouched;
  return lost(folder, probe, neverRan ? 'not_started' : 'state_removed');
}

/** By the wall clock, which is exact, unless it was set meanwhile: then by the time since boot. */
function durationOf(folder: FolderSnapshot, probe: Probe, endedMs: number): number {
  const identity = folder.journal?.identity;
  if (!identity) return 0;
  const byWall = endedMs - identity.started_ms;
  const byUptime = (probe.exitSeenUptimeMs ?? Number.NaN) - identity.started_uptime_ms;
  return Math.max(0, Math.abs(byWall - byUptime) > clockStepMs ? byUptime : byWall);
}

/** More than what the clocks of one machine differ by over an exec, but for a step. */
const clockStepMs = 5_000;

/** Not seen: when the record was last written, which a late pump can have moved. */
function endOf(folder: FolderSnapshot, probe: Probe): number {
  return probe.exitSeenMs ?? folder.recordModifiedMs ?? probe.nowMs;
}

/**
 * POSIX shells say 128+n for death by signal n and for a plain `exit 128+n`. They also say the death in words (`Killed`)
 * on their own stderr: only then is it known. For INT and PIPE they say nothing.
 */
function deathSignal(folder: FolderSnapshot, exitCode: number): string | undefined {
  if (exitCode <= 128) return undefined;
  const said = folder.shimText
    .split('\n')
    .some((line) => line.trim() !== '' && !/^\S*(cat|sleep): /.test(line));
  return said ? signalNames.get(exitCode - 128) : undefined;
}

/** The names that kill(1) prints; SIGABRT before its other name SIGIOT, SIGIO before SIGPOLL. */
const signalNames: ReadonlyMap<number, string> = new Map(
  Object.entries(constants.signals)
    .filter(([name]) => name !== 'SIGIOT' && name !== 'SIGPOLL' && name !== 'SIGUNUSED')
    .map(([name, number]) => [number, name]),
);

function common(folder: FolderSnapshot, more: readonly string[] = []) {
  const { journal, record } = folder;
  const { spec, identity, cancel } = journal ?? {};
  const warnings = [
    ...(spec?.warnings ?? []),
    ...(journal?.warnings ?? []),
    ...(record && record.torn.size > 0 ? ['log_incomplete'] : []),
    ...(journal?.damage === 'damaged' || record?.damaged ? ['state_damaged'] : []),
    ...more,
  ];
  return {
    exec_id: folder.id,
    digest: spec?.digest ?? '',
    mode: spec?.mode ?? ('async' as const),
    command: spec?.command ?? '',
    ...(spec && { cwd: spec.cwd }),
    ...(spec?.label !== undefined && { label: spec.label }),
    ...(spec?.session !== undefined && { session: spec.session }),
    ...(spec?.caller_cwd !== undefined && { caller_cwd: spec.caller_cwd }),
    accepted_at: iso(spec?.accepted_ms ?? folder.recordModifiedMs ?? 0),
    ...(identity && { started_at: iso(identity.started_ms) }),
    stdout_bytes: folder.stdoutBytes,
    stderr_bytes: folder.stderrBytes,
    ...folder.dropped,
    ...(spec?.timeout_ms !== undefined && { timeout_ms: spec.timeout_ms }),
    ...(cancel && { cancel_requested: true }),
    ...(cancel?.cause === 'log_limit' && { cancelled_by: 'log_limit' as const }),
    ...(spec?.ephemeral && { ephemeral: true }),
    ...(spec?.queue !== undefined && { queue: spec.queue }),
    ...(spec?.worktree && { worktree: spec.worktree }),
    ...(warnings.length > 0 && { warnings }),
  };
}

function iso(epochMs: number): string {
  return new Date(epochMs).toISOString();
}
