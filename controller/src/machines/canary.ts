import { newId } from '@codex-remote/platform';
import { canaryArgv, type ExecSpec, type ExecState, isEnded } from '@codex-remote/protocol/schema';
import { type Clock, encodeRecord, RemoteError, streamId } from '@codex-remote/protocol/wire';
import type { ExecChanges } from '../execs/changes.ts';
import type { Execs } from '../execs/execs.ts';
import { RequestBody } from '../execs/request-body.ts';

/** From start to finished of `true`, the first login environment of an agent (10 s at most) included. */
export const canaryMs = 20_000;

export interface CanaryOptions {
  readonly execs: Execs;
  readonly changes: ExecChanges;
  readonly clock: Clock;
  readonly machine: string;
  /** How long a connection that breaks meanwhile is waited for; within the limit of the whole. */
  readonly connectWaitMs?: number;
  readonly signal: AbortSignal;
}

/**
 * Proves the exec path of a machine with a real exec, from its start to its exit code. Returns how long that took, in
 * milliseconds, and what the machine warned of. Throws what went wrong on the way, or `agent_start_failed`.
 */
export async function runCanary({
  execs,
  changes,
  clock,
  machine,
  connectWaitMs = 0,
  signal,
}: CanaryOptions): Promise<{ ms: number; warnings: readonly string[] }> {
  const began = clock.monotonic();
  const spec: ExecSpec = {
    exec_id: `canary-${newId(clock.wall())}`,
    command: { kind: 'argv', argv: [...canaryArgv] },
    env: {},
    stdin: false,
    merge: false,
    mode: 'run',
    ephemeral: true,
  };
  const over = Promise.withResolvers<ExecState>();
  const look = (state: ExecState): void => {
    if (isEnded(state)) over.resolve(state);
  };
  const failed = (why: string): RemoteError =>
    new RemoteError('agent_start_failed', `the agent of ${machine} runs but a test command ${why}`, {
      machine,
      hint: `\`codex-remote machine up -m ${machine}\` once more; then look at the agent's log on the machine`,
    });
  // It may be given up before it is awaited.
  over.promise.catch(() => undefined);
  const gone = new AbortController();
  const stop = changes.listen(machine, spec.exec_id, look);
  const timer = clock.setTimer(canaryMs, () => over.reject(failed(`did not end within ${canaryMs} ms`)));
  const withdraw = (): void => over.reject(new RemoteError('cancelled', 'the caller went away'));
  if (signal.aborted) withdraw();
  else signal.addEventListener('abort', withdraw);
  try {
    const body = encodeRecord({
      kind: 'data',
      stream: streamId.spec,
      offset: 0,
      bytes: Buffer.from(JSON.stringify(spec)),
    });
    // Not awaited by itself: a machine that takes a request and answers nothing must not hold this up.
    execs
      .start(machine, spec.exec_id, new RequestBody(once(body)), connectWaitMs, gone.signal)
      .then(({ view }) => look(view.state))
      .catch(over.reject);
    const state = await over.promise;
    if (state.status !== 'finished' || state.exit_code !== 0)
      throw failed(`ended as ${state.status} ${state.status === 'finished' ? state.exit_code : ''}`.trim());
    return { ms: clock.monotonic() - began, warnings: state.warnings ?? [] };
  } finally {
    stop();
    timer.cancel();
    signal.removeEventListener('abort', withdraw);
    gone.abort();
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
  yield bytes;
}
