import type { QueueSettings, QueueView } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { callAgent, checkCapabilities } from '../execs/agent-call.ts';
import type { MachineLink } from '../links/link.ts';

/** `machine show` waits no longer for what only the machine knows. */
const askMs = 2_000;

/** The queues as the machine has them now; undefined while it cannot say. */
export async function queuesNow(link: MachineLink, signal: AbortSignal): Promise<QueueView[] | undefined> {
  const soon = AbortSignal.any([signal, AbortSignal.timeout(askMs)]);
  try {
    checkCapabilities(link, ['queues']);
    const session = await link.session(0, soon);
    return (await callAgent(session, 'queues.get', {}, { signal: soon })).queues;
  } catch {
    return undefined;
  }
}

/**
 * Sets queues where they are kept, on the machine. Sent again by itself when the connection breaks: setting twice is
 * setting once. Throws `machine_offline`, `agent_outdated`, and what the machine answers.
 */
export async function setQueues(
  link: MachineLink,
  concurrency: QueueSettings,
  connectWaitMs: number,
  signal: AbortSignal,
): Promise<QueueView[]> {
  for (;;) {
    const session = await link.session(link.patience(connectWaitMs), signal);
    checkCapabilities(link, ['queues']);
    try {
      return (await callAgent(session, 'queues.set', { concurrency }, { signal })).queues;
    } catch (error) {
      if (RemoteError.from(error).code !== 'connection_reset' || signal.aborted) throw error;
    }
  }
}
