import type { TokenView } from '@codex-remote/protocol/schema';

/** `until 2026-02-01T00:00:00.000Z`, `for ever`, `revoked 2026-…`. */
export function endText({ status, expires_at, revoked_at }: TokenView): string {
  if (status === 'revoked') return `revoked ${revoked_at}`;
  if (status === 'expired') return `expired ${expires_at}`;
  return expires_at === undefined ? 'for ever' : `until ${expires_at}`;
}
