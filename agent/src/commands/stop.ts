import { setTimeout as sleep } from 'node:timers/promises';
import { failpoint, ProcessTable, takeLock } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { AgentHome } from '../home.ts';
import type { ServiceHost } from '../service/host.ts';
import { removeFromBoot, removeServices } from '../service/installed.ts';
import { type DaemonState, runningDaemon } from './daemon-state.ts';

/** From TERM to KILL; a daemon only has to end its session and close its files. */
const graceMs = 5_000;
const pollMs = 10;
/** From a daemon's lock to its state file; reading ten thousand exec folders is the slow part. */
const appearMs = 20_000;

/**
 * Ends the daemon and whatever would start it again; true when one ran. Its execs go on. Nothing of this home starts by
 * itself any more once it returns: the lock was free, and no keeper is appointed. Throws `agent_start_failed` when it
 * cannot be ended.
 */
export async function stopAgent(home: AgentHome, host: ServiceHost): Promise<boolean> {
  const running = runningDaemon(home) !== undefined;
  await removeFromBoot(host, home);
  await removeServices(host, home);
  return (await stopDaemon(home)) || running;
}

/** Ends the daemon that holds the home, also one that has only just begun. True when one ran. */
export async function stopDaemon(home: AgentHome): Promise<boolean> {
  let stopped = false;
  for (let waited = 0; waited < appearMs; waited += pollMs) {
    const running = runningDaemon(home);
    if (running) {
      await endDaemon(running);
      stopped = true;
    } else if (isFree(home)) return stopped;
    else await sleep(pollMs);
  }
  throw new RemoteError('agent_start_failed', `a process holds ${home.lock} and does not say which`, {
    hint: `look for \`agent.mjs daemon --home ${home.path}\` on the machine`,
  });
}

/** Ends exactly this daemon. Throws `agent_start_failed` when it cannot be ended. */
export async function endDaemon(running: DaemonState): Promise<void> {
  const processes = new ProcessTable();
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    // It may have ended since, and its pid be another's.
    if (!processes.isAlive(running)) return;
    failpoint(signal === 'SIGTERM' ? 'agent.daemon_term.before' : 'agent.daemon_kill.before');
    try {
      process.kill(running.pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
    failpoint(signal === 'SIGTERM' ? 'agent.daemon_term.after' : 'agent.daemon_kill.after');
    for (let waited = 0; waited < graceMs; waited += pollMs) {
      if (!processes.isAlive(running)) return;
      await sleep(pollMs);
    }
  }
  throw new RemoteError('agent_start_failed', `the agent (pid ${running.pid}) cannot be ended`, {
    hint: `look at process ${running.pid} on the machine`,
  });
}

function isFree(home: AgentHome): boolean {
  try {
    takeLock(home.lock).release();
    return true;
  } catch (error) {
    if (error instanceof RemoteError && error.code === 'already_running') return false;
    throw error;
  }
}
