import { RemoteError } from '@codex-remote/protocol/wire';

/** A machine that is registered and has no agent: it is waited for by nobody. */
export function notBroughtUp(machine: string): RemoteError {
  return new RemoteError('machine_offline', `machine offline: ${machine} was never brought up`, {
    machine,
    sent: 'no',
    hint: `\`codex-remote machine up -m ${machine}\``,
  });
}
