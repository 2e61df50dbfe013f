import { type AgentVerb, agentVerbs, type VerbParams, type VerbReply } from '@codex-remote/protocol/schema';
import { type CallOptions, call, RemoteError, type Session } from '@codex-remote/protocol/wire';
import type { MachineLink } from '../links/link.ts';

/**
 * A call whose answer is parsed: what a machine says is untrusted. An answer about another exec than the one that was asked
 * for is a lie, and the end of the session. Throws `connection_reset` whenever the session is over, whatever ended it, else
 * `protocol_error` or what the agent answered.
 */
export async function callAgent<V extends Exclude<AgentVerb, 'exec.logs' | 'exec.reports'>>(
  session: Session,
  verb: V,
  params: VerbParams<V>,
  options: CallOptions,
): Promise<VerbReply<V>> {
  const answer = await call(session, verb, params, options).catch((error: unknown) => {
    if (!session.ended) throw RemoteError.from(error).code === 'unknown_verb' ? outdated(verb, error) : error;
    throw new RemoteError(
      'connection_reset',
      `connection reset by peer: ${session.ended.message}`,
      {},
      error,
    );
  });
  const reply = agentVerbs[verb].reply.safeParse(answer);
  if (!reply.success)
    throw new RemoteError('protocol_error', `the answer to ${verb} has not the expected shape`);
  const about = 'state' in reply.data ? reply.data.state.exec_id : undefined;
  if (about !== undefined && 'exec_id' in params && !meant(verb, params.exec_id, about)) {
    const lie = new RemoteError('protocol_error', `the answer to ${verb} is about another exec`, {
      facts: { field: 'exec_id', value: about },
    });
    session.end(lie);
    throw lie;
  }
  return reply.data as VerbReply<V>;
}

/** What is started is named in full; what is looked for may be named by a prefix. */
function meant(verb: AgentVerb, asked: string, about: string): boolean {
  return verb === 'exec.start' ? about === asked : about.startsWith(asked);
}

/** The agent is of a release that did not have this request yet. */
function outdated(verb: string, cause: unknown): RemoteError {
  return new RemoteError(
    'agent_outdated',
    `the agent is too old: it does not know ${verb}`,
    { hint: 'machine up replaces it; its execs go on', facts: { missing: verb } },
    cause,
  );
}

/**
 * An agent would refuse what it does not know, or pass over it: it is not asked. Throws `agent_outdated` when the machine
 * is connected and lacks one of `needs`.
 */
export function checkCapabilities(link: MachineLink, needs: readonly string[]): void {
  const lack = lackOf(link, needs);
  if (lack) throw lack;
}

/** What a connected agent lacks of `needs`, as the error of whoever needs it. */
export function lackOf(link: MachineLink, needs: readonly string[]): RemoteError | undefined {
  const known = link.live?.info.hello.capabilities;
  const missing = known && needs.find((need) => !known.includes(need));
  if (missing === undefined) return undefined;
  const { hint = '', facts } = link.bringsAgent('replaces it; its execs go on');
  return new RemoteError(
    'agent_outdated',
    `the agent of ${link.machine} is too old: it does not know ${missing}`,
    {
      machine: link.machine,
      sent: 'no',
      hint,
      facts: { ...facts, missing },
    },
  );
}
