import type { AuditEntry } from '../audit/entry.ts';
import { nameOf } from './principal.ts';
import type { TokenEvent } from './tokens.ts';

/** What the audit log keeps of a token: who made or revoked it, from where it was used, and why it let nobody in. */
export function auditOfToken({ what, tokenId, by, from, silenced }: TokenEvent): AuditEntry {
  const done = what === 'created' || what === 'revoked' || what === 'used';
  return {
    principal: by ? nameOf(by) : tokenId === undefined ? 'unknown' : `token:${tokenId}`,
    source: from,
    verb: done ? `token.${verbs[what]}` : 'token.use',
    result: done ? 'done' : 'refused',
    ...(done ? {} : { reason: what }),
    facts: { ...(tokenId !== undefined && { token: tokenId }), ...(silenced && { silenced }) },
  };
}

const verbs = { created: 'create', revoked: 'revoke', used: 'use' } as const;
