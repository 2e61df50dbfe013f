import type { ArtifactsState, ExecState, ExecView } from '@codex-remote/protocol/schema';
import { defaultTailBytes, lastLine, type RawTail, type TailLimit, textTail } from './tail.ts';

export type NextAction = 'wait' | 'done' | 'fix-config';

/** What every answer about an exec carries; more fields may follow. Absent beats null but for the two that say "unknown" and "none yet". */
export interface Answer {
  ok: true;
  machine: string;
  ssh_ok: boolean | null;
  ssh_checked_at?: string;
  daemon_ok: boolean;
  machine_connected?: false;
  as_of?: string;
  mode: 'run' | 'async';
  exec_id: string;
  status: ExecState['status'];
  exit_code: number | null;
  reason?: string;
  signal?: string;
  safe_to_retry?: boolean;
  /** Why an exec was not started, as a word and for people. */
  why?: string;
  detail?: string;
  queue?: string;
  /** Of a queued one, among those that wait in its queue; with `reason` why it waits. */
  position?: number;
  waiting_for?: string[];
  next_action: NextAction;
  next_command?: string;
  accepted_at: string;
  started_at?: string;
  ended_at?: string;
  duration_ms?: number;
  stdout_bytes?: number;
  stderr_bytes?: number;
  stdout_dropped_bytes?: number;
  stderr_dropped_bytes?: number;
  label?: string;
  command: string;
  /** Where it runs at a commit: of which project, what was asked for, what that is, and the folder there. */
  project?: string;
  ref?: string;
  commit?: string;
  tree?: string;
  dirty?: boolean;
  workspace?: string;
  worktree?: string;
  worktree_kept?: true;
  worktree_removed?: true;
  cancel_requested?: true;
  cancelled_by?: 'log_limit';
  writers_remaining?: true;
  spawn_error?: string;
  leftover_pids?: number[];
  warnings?: string[];
  /** What is kept of it; the files may be the first ones only. */
  artifacts?: ArtifactsState;
  /** Its job is over; the end comes with what is kept of it. */
  settling?: true;
  /** Of the job on its machine, while it runs. */
  pid?: number;
  last_output_at?: string;
  last_line?: string;
  stdout_tail?: string;
  stdout_tail_from?: number;
  stderr_tail?: string;
  stderr_tail_from?: number;
  complete?: boolean;
}

export interface AnswerOptions {
  /** Milliseconds since the epoch: how long a machine has been away is measured from it. */
  readonly now: number;
  /** Tails: `default` where the contract has them, a number of lines, or none. */
  readonly tails: 'default' | 'none' | { readonly lines: number };
}

/** A machine that has been away for longer needs someone to look at it. */
const awayLongMs = 5 * 60_000;
/** `--tail-lines` replaces the 2000 bytes; this keeps an answer readable in one piece. */
export const maxTailLinesBytes = 256 * 1024;

/** The answer about an exec, in the order in which people read it. */
export function answerOf(view: ExecView, options: AnswerOptions): Answer {
  const { state } = view;
  const next = nextStep(view, options.now);
  return {
    ok: true,
    machine: view.machine,
    ssh_ok: view.ssh_ok,
    ...given('ssh_checked_at', view.ssh_checked_at),
    daemon_ok: view.machine_connected,
    ...(view.machine_connected ? {} : { machine_connected: false as const }),
    ...given('as_of', view.as_of),
    mode: state.mode,
    exec_id: state.exec_id,
    status: state.status,
    ...outcome(state),
    ...next,
    accepted_at: state.accepted_at,
    ...given('started_at', state.started_at),
    ...(state.status === 'finished' || state.status === 'lost' ? given('ended_at', state.ended_at) : {}),
    ...(state.status === 'finished' ? { duration_ms: state.duration_ms } : {}),
    ...(state.status === 'queued'
      ? {}
      : { stdout_bytes: state.stdout_bytes, stderr_bytes: state.stderr_bytes }),
    ...given('stdout_dropped_bytes', state.stdout_dropped_bytes),
    ...given('stderr_dropped_bytes', state.stderr_dropped_bytes),
    ...given('label', state.label),
    ...(state.status === 'queued' ? {} : given('queue', state.queue)),
    command: state.command,
    ...worktreeFields(state.worktree),
    ...(state.cancel_requested ? { cancel_requested: true as const } : {}),
    ...given('cancelled_by', state.cancelled_by),
    ...(state.writers_remaining ? { writers_remaining: true as const } : {}),
    ...given('warnings', state.warnings?.length ? state.warnings : undefined),
    ...(state.status === 'running'
      ? {
          ...given('settling', state.settling),
          ...given('pid', state.pid),
          ...given('last_output_at', state.last_output_at),
        }
      : {}),
    ...(state.status === 'finished' || state.status === 'lost' ? given('artifacts', state.artifacts) : {}),
    ...output(view, options.tails),
  };
}

function worktreeFields(worktree: ExecState['worktree']): Partial<Answer> {
  if (worktree === undefined) return {};
  const { project, ref, commit, tree, dirty, workspace, path, kept, removed } = worktree;
  return {
    ...{ project, ref, commit, tree, dirty },
    ...given('workspace', workspace),
    worktree: path,
    ...(kept ? { worktree_kept: true as const } : {}),
    ...(removed ? { worktree_removed: true as const } : {}),
  };
}

function outcome(state: ExecState): Pick<Answer, 'exit_code'> & Partial<Answer> {
  if (state.status === 'lost')
    return {
      exit_code: null,
      reason: state.reason,
      safe_to_retry: state.safe_to_retry,
      ...given('why', state.why),
      ...given('detail', state.detail),
    };
  if (state.status === 'queued')
    return {
      exit_code: null,
      ...given('reason', state.reason),
      ...given('queue', state.queue),
      ...given('position', state.position),
      ...given('waiting_for', state.waiting_for?.length ? state.waiting_for : undefined),
    };
  if (state.status !== 'finished') return { exit_code: null };
  return {
    exit_code: state.exit_code,
    reason: state.reason,
    ...given('signal', state.signal),
    ...given('spawn_error', state.spawn_error),
    ...given('leftover_pids', state.leftover_pids?.length ? state.leftover_pids : undefined),
  };
}

/** What the caller does next, as one whole command line where there is one. */
export function nextStep(view: ExecView, now: number): Pick<Answer, 'next_action' | 'next_command'> {
  const { state, machine } = view;
  if (state.status === 'finished') return { next_action: 'done' };
  const away =
    !view.machine_connected && view.as_of !== undefined && now - Date.parse(view.as_of) > awayLongMs;
  if (away || (state.status === 'lost' && !view.machine_connected))
    return { next_action: 'fix-config', next_command: `codex-remote machine check -m ${machine}` };
  if (state.status === 'lost')
    return { next_action: 'fix-config', next_command: `codex-remote exec logs --id ${state.exec_id}` };
  return { next_action: 'wait', next_command: `codex-remote exec wait --id ${state.exec_id} --max-wait 50s` };
}

function output(view: ExecView, tails: AnswerOptions['tails']): Partial<Answer> {
  const ended = view.state.status === 'finished' || view.state.status === 'lost';
  const [stdout, stderr] = [rawTail(view.stdout_tail), rawTail(view.stderr_tail)];
  const line =
    ended || tails === 'none' ? undefined : ((stdout && lastLine(stdout)) ?? (stderr && lastLine(stderr)));
  const shows =
    tails !== 'none' && (ended || tails !== 'default') && stdout !== undefined && stderr !== undefined;
  if (!shows) return given('last_line', line);
  const limit: TailLimit =
    tails === 'default' ? { bytes: defaultTailBytes } : { bytes: maxTailLinesBytes, lines: tails.lines };
  return { ...given('last_line', line), ...tailFields(stdout, stderr, limit) };
}

function tailFields(stdout: RawTail, stderr: RawTail, limit: TailLimit): Partial<Answer> {
  const [out, err] = [textTail(stdout, limit), textTail(stderr, limit)];
  return {
    stdout_tail: out.text,
    stdout_tail_from: out.from,
    stderr_tail: err.text,
    stderr_tail_from: err.from,
    complete: out.whole && err.whole,
  };
}

function rawTail(tail: ExecView['stdout_tail']): RawTail | undefined {
  return tail === undefined ? undefined : { from: tail.from, bytes: Buffer.from(tail.base64, 'base64') };
}

/** Of the artifacts, on a line that is short. */
const briefArtifacts = { files: 10, bytes: 1000, skipped: 3 };

/**
 * The answer on one line of at most `limit` bytes: the first artifacts, and tails lose lines from their beginning, as much as
 * is needed.
 */
export function briefAnswer(
  view: ExecView,
  now: number,
  limit: number,
  lineBytes: (answer: Answer) => number,
): Answer {
  const answer = answerOf(view, { now, tails: 'default' });
  if (answer.artifacts) answer.artifacts = firstOf(answer.artifacts);
  const [stdout, stderr] = [rawTail(view.stdout_tail), rawTail(view.stderr_tail)];
  for (
    let bytes = defaultTailBytes;
    lineBytes(answer) > limit && stdout && stderr && answer.complete !== undefined;
    bytes = Math.floor(bytes * 0.75)
  ) {
    Object.assign(answer, tailFields(stdout, stderr, { bytes }));
    if (bytes === 0) break;
  }
  return answer;
}

function firstOf({ files, skipped, ...rest }: ArtifactsState): ArtifactsState {
  let bytes = 0;
  const fits = (one: object): boolean => {
    bytes += Buffer.byteLength(JSON.stringify(one)) + 1;
    return bytes <= briefArtifacts.bytes;
  };
  return {
    ...rest,
    files: files.slice(0, briefArtifacts.files).filter(fits),
    ...given('skipped', skipped?.slice(0, briefArtifacts.skipped).filter(fits)),
  };
}

function given<K extends string, V>(name: K, value: V | undefined): { [name in K]?: V } {
  return value === undefined ? {} : ({ [name]: value } as { [name in K]: V });
}
