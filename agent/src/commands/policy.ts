import { type MachinePolicy, machinePolicy } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { AgentHome } from '../home.ts';
import { PolicyFile } from '../policy/policy-file.ts';

/** For the user of the machine: sets the policy of an agent here, to any other, and shows it. Nothing on stdin: only shows it. */
export function setPolicy(home: AgentHome, input: string): { policy: MachinePolicy } {
  const file = new PolicyFile(home.policy);
  if (input.trim() !== '') file.replace(parsed(input));
  return { policy: file.get() };
}

function parsed(input: string): MachinePolicy {
  try {
    return machinePolicy.parse(JSON.parse(input));
  } catch (error) {
    throw new RemoteError('usage', 'stdin has no policy, such as {"mode":"full"}', {}, error);
  }
}
