import type { ErrorDetails } from '@codex-remote/protocol/wire';
import type { MachineRecord } from './registry.ts';

/** It was invited, and SSH is not how it is reached: nobody here can do anything on it. */
export function comesByItself({ ssh, installation, invites }: MachineRecord): boolean {
  if (ssh !== undefined) return false;
  return installation === undefined ? invites !== undefined : installation.home === undefined;
}

/** Of an error: what brings the agent of a machine (back), and by the fact `invited` which command that is. */
export function bringsAgent(
  machine: string,
  invited: boolean,
  what: string,
): Pick<ErrorDetails, 'hint' | 'facts'> {
  return invited
    ? {
        hint: `a new line of \`codex-remote machine invite -m ${machine}\`, pasted there, ${what}`,
        facts: { invited: true },
      }
    : { hint: `\`codex-remote machine up -m ${machine}\` ${what}` };
}
