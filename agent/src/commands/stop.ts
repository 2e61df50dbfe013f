import { setTimeout as sleep } from 'node:timers/promises';
import { failpoint, ProcessTable } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { AgentHome } from '../home.ts';
import { runningDaemon } from './daemon-state.ts';

/** From TERM to KILL; a daemon only has to end its session and close its files. */
const graceMs = 5_000;
const pollMs = 10;

/** Ends the daemon if one runs; true when it did. Its execs go on. Throws `agent_start_failed` when it cannot be ended. */
export async function stopDaemon(home: AgentHome): Promise<boolean> {
  const running = runningDaemon(home);
  if (!running) return false;
  const processes = new ProcessTable();
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    failpoint(signal === 'SIGTERM' ? 'agent.daemon_term.before' : 'agent.daemon_kill.before');
    try {
      process.kill(running.pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
    failpoint(signal === 'SIGTERM' ? 'agent.daemon_term.after' : 'agent.daemon_kill.after');
    for (let waited = 0; waited < graceMs; waited += pollMs) {
      if (!processes.isAlive(running)) return true;
      await sleep(pollMs);
    }
  }
  throw new RemoteError('agent_start_failed', `the agent (pid ${running.pid}) cannot be ended`, {
    hint: `look at process ${running.pid} on the machine`,
  });
}
