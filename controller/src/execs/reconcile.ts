import { agentVerbs, type ExecReport, type ExecState } from '@codex-remote/protocol/schema';
import { call, RemoteError, type Session } from '@codex-remote/protocol/wire';
import type { History } from '../history/history.ts';

/**
 * After a machine's snapshot: the execs that history has as going on and that the machine did not report, each as it is
 * there. Its end was acknowledged and our record of it lost, or its folder was removed while nobody looked. Without this
 * whoever waits for it would wait for ever. Throws what ended the session.
 */
export async function* unreported(
  session: Session,
  machine: string,
  history: History,
  reported: ReadonlySet<string>,
): AsyncGenerator<ExecReport, void, void> {
  const { entries } = history.list({
    machine,
    status: ['queued', 'running'],
    limit: Number.MAX_SAFE_INTEGER,
    ended_after_ms: 0,
  });
  for (const { report } of entries) {
    const answer = reported.has(report.state.exec_id) ? undefined : await ask(session, report.state);
    if (answer) yield answer;
  }
}

/** Undefined where the machine cannot tell now: it is asked again at its next connection. */
async function ask(session: Session, known: ExecState): Promise<ExecReport | undefined> {
  const params = { exec_id: known.exec_id, tail_bytes: 0 };
  try {
    const report = agentVerbs['exec.get'].reply.parse(await call(session, 'exec.get', params));
    if (report.state.exec_id === known.exec_id) return report;
    throw new RemoteError('protocol_error', 'the answer to exec.get is about another exec');
  } catch (error) {
    const { code } = RemoteError.from(error);
    if (code === 'exec_not_found') return { state: removed(known) };
    if (code === 'state_unusable' || code === 'fds_exhausted') return undefined;
    throw error;
  }
}

/** It was accepted there, and the machine knows nothing of it any more: nobody can say how it ended. */
function removed(known: ExecState): ExecState {
  const { exec_id, digest, mode, command, cwd, label, session, caller_cwd } = known;
  const { accepted_at, started_at, stdout_bytes, stderr_bytes, timeout_ms } = known;
  return {
    ...{ exec_id, digest, mode, command, cwd, label, session, caller_cwd },
    ...{ accepted_at, started_at, stdout_bytes, stderr_bytes, timeout_ms },
    status: 'lost',
    reason: 'state_removed',
    safe_to_retry: false,
  };
}
