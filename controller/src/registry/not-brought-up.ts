import { RemoteError } from '@codex-remote/protocol/wire';
import { bringsAgent, comesByItself } from './joined.ts';
import type { MachineRecord } from './registry.ts';

/** A machine that is registered and has no agent: it is waited for by nobody. */
export function notBroughtUp(machine: MachineRecord): RemoteError {
  const { name } = machine;
  const invited = comesByItself(machine);
  const why = invited ? 'was invited and has not joined yet' : 'was never brought up';
  return new RemoteError('machine_offline', `machine offline: ${name} ${why}`, {
    machine: name,
    sent: 'no',
    ...bringsAgent(name, invited, 'brings its agent'),
  });
}
