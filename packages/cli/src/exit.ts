import type { ExecView } from '@codex-remote/protocol/schema';

/** Exit statuses of ours (docs/cli.md); every other is the remote command's own. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  /** Not over yet: `--max-wait` ran out, or we detached. */
  unfinished: 75,
  /** `--timeout` ended the job. */
  timeout: 124,
  /** Cancelled, where the job's own code is 0. */
  cancelled: 130,
  /** The reader of our output went away. */
  readerGone: 141,
  /** `run`, `watch`, `wait`: we failed, or cannot say how the job ended. */
  unknown: 255,
} as const;

/** The status of `exec run`, `watch` and `wait` for one exec: 0 means exactly finished, exited, code 0. */
export function exitOfExec({ state }: ExecView): number {
  if (state.status === 'queued' || state.status === 'running') return exitCodes.unfinished;
  if (state.status === 'lost') return exitCodes.unknown;
  if (state.reason === 'timeout') return exitCodes.timeout;
  const own = state.exit_code & 0xff;
  if (state.reason === 'cancelled' && own === 0) return exitCodes.cancelled;
  // A status is one byte; a code that would wrap to success is none.
  return own === 0 && (state.exit_code !== 0 || (state.reason !== 'exited' && state.reason !== 'signaled'))
    ? exitCodes.unknown
    : own;
}

/** `wait` and `watch` for several: `all` is 1 where one is not 0, `any` is the code of the first that ended. */
export function exitOfMany(views: readonly ExecView[], mode: 'all' | 'any'): number {
  if (views.length === 1 && views[0] !== undefined) return exitOfExec(views[0]);
  if (mode === 'any') {
    const ended = views
      .filter(({ state }) => state.status === 'finished' || state.status === 'lost')
      .sort((a, b) => endedAt(a) - endedAt(b))[0];
    return ended === undefined ? exitCodes.unfinished : exitOfExec(ended);
  }
  const codes = views.map(exitOfExec);
  if (views.some(({ state }) => state.status === 'queued' || state.status === 'running'))
    return exitCodes.unfinished;
  return codes.every((code) => code === 0) ? exitCodes.ok : exitCodes.failed;
}

function endedAt({ state }: ExecView): number {
  const at = state.status === 'finished' || state.status === 'lost' ? state.ended_at : undefined;
  return at === undefined ? Number.POSITIVE_INFINITY : Date.parse(at);
}

/** The status after a failure of ours in `command` (noun and verb). */
export function exitOfFailure(code: string, command: string | undefined): number {
  if (code === 'usage') return exitCodes.usage;
  return command === 'exec run' || command === 'exec watch' || command === 'exec wait'
    ? exitCodes.unknown
    : exitCodes.failed;
}
