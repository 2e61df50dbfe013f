import type { Audit } from '../audit/audit-log.ts';
import type { HostKeyEvent } from '../ssh/index.ts';

/** Puts what became of a host's key into the audit log. Who asked for the connection stands in the entry of that. */
export function hostKeyNotes(audit: Pick<Audit, 'record'>, machine: string): (event: HostKeyEvent) => void {
  return ({ decision, facts }) => {
    const accepted = decision === 'accepted';
    audit
      .record({
        principal: 'controller',
        source: 'ssh',
        verb: 'ssh.host_key',
        machine,
        result: accepted ? 'accepted' : 'refused',
        ...(!accepted && { reason: `host_key_${decision}` }),
        facts,
      })
      .catch(() => undefined);
  };
}
