import {
  fullPolicy,
  isNarrower,
  type MachinePolicy,
  machinePolicy,
  type PolicyChange,
  type PolicyView,
} from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { callAgent, lackOf } from '../execs/agent-call.ts';
import type { MachineLink } from '../links/link.ts';
import type { MachineRecord } from '../registry/registry.ts';

/** An agent that does not answer soon is asked again when it connects. */
const askMs = 2_000;

export function policyOf(machine: MachineRecord | undefined): MachinePolicy {
  return machine?.policy ?? fullPolicy;
}

/** The policy with what somebody asked for. Throws `usage`. */
export function changedPolicy(now: MachinePolicy, change: PolicyChange): MachinePolicy {
  const mode = change.policy ?? now.mode;
  const required = change.require_label ?? now.require_label;
  const kept = now.mode === 'allow' ? now : fullPolicy;
  const lists = {
    allow: change.allow ?? kept.allow,
    cwd: change.allow_cwd ?? kept.cwd,
    env: change.allow_env ?? kept.env,
  };
  if (mode !== 'allow' && (change.allow || change.allow_cwd || change.allow_env))
    throw new RemoteError(
      'usage',
      `patterns, directories and variables are of the policy allow, not of ${mode}`,
      {
        sent: 'no',
        hint: 'add --policy allow',
      },
    );
  const filled = Object.fromEntries(Object.entries(lists).filter(([, list]) => list?.length));
  const parsed = machinePolicy.safeParse({
    mode,
    ...(mode === 'allow' && filled),
    ...(required && { require_label: true }),
  });
  if (parsed.success) return parsed.data;
  throw new RemoteError('usage', `the policy cannot be meant: ${parsed.error.issues[0]?.message ?? ''}`, {
    sent: 'no',
    hint: 'docs/security.md has what a pattern is',
  });
}

/** What holds on a machine, by what its agent says; where it cannot be asked, by what this controller refuses. */
export function policyView(policy: MachinePolicy, agent: MachinePolicy | undefined): PolicyView {
  if (!agent) return { policy, enforced_by: 'controller' };
  // What both let start: the agent's is never wider for long, it may be narrower.
  const enforces = isNarrower(agent, policy);
  const same = enforces && isNarrower(policy, agent);
  return { policy, enforced_by: enforces ? 'agent' : 'controller', ...(!same && { agent_policy: agent }) };
}

/**
 * Tells the agent what it is to let start; it takes what is narrower than what it has. Undefined where it is away, is of a
 * release that has no policies, or does not answer.
 */
export async function tellAgent(
  link: MachineLink,
  policy: MachinePolicy,
  signal: AbortSignal,
): Promise<MachinePolicy | undefined> {
  return asked(link, signal, async (session, soon) => {
    const reply = await callAgent(session, 'policy.set', { policy }, { signal: soon });
    return reply.policy;
  });
}

export async function askAgent(link: MachineLink, signal: AbortSignal): Promise<MachinePolicy | undefined> {
  return asked(link, signal, async (session, soon) => {
    const reply = await callAgent(session, 'policy.get', {}, { signal: soon });
    return reply.policy;
  });
}

async function asked(
  link: MachineLink,
  signal: AbortSignal,
  ask: (session: Parameters<typeof callAgent>[0], soon: AbortSignal) => Promise<MachinePolicy>,
): Promise<MachinePolicy | undefined> {
  const live = link.live;
  if (!live || lackOf(link, ['policy'])) return undefined;
  try {
    return await ask(live.session, AbortSignal.any([signal, AbortSignal.timeout(askMs)]));
  } catch (error) {
    if (signal.aborted) throw error;
    return undefined;
  }
}
