import { decideFileChange, type MachinePolicy } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';

/** Whether what may run on the machine may be changed by its files. Throws `policy_refused`. */
export function mayChange(policy: MachinePolicy): void {
  const decision = decideFileChange(policy);
  if (decision.allowed) return;
  throw new RemoteError('policy_refused', `the policy of the machine refuses this: ${decision.why}`, {
    facts: { rule: decision.rule, policy: policy.mode, refused_by: 'agent' },
  });
}
