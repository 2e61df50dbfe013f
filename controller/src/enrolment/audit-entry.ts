import type { AuditEntry } from '../audit/entry.ts';
import type { JoinOutcome } from './join-tokens.ts';

/** An attempt to join, as the audit log has it. The machine's name is what was claimed; the token's id is no secret. */
export function enrolmentEntry(outcome: JoinOutcome): AuditEntry {
  const { tokenId, machine, keyFingerprint, peer, result, silenced } = outcome;
  const refused = result !== 'requested' && result !== 'enrolled' && result !== 'again';
  return {
    principal: `agent:${keyFingerprint}`,
    source: peer,
    verb: 'machine.enrol',
    machine,
    result: refused ? 'refused' : results[result],
    ...(refused ? { reason: result } : {}),
    facts: { ...(tokenId !== undefined && { token_id: tokenId }), ...(silenced && { silenced }) },
  };
}

const results = { requested: 'requested', enrolled: 'done', again: 'unchanged' } as const;
