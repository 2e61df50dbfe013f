import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { newId } from '@codex-remote/platform';
import type { TokenView } from '@codex-remote/protocol/schema';
import { z } from 'zod';

const secretBytes = 32;
const tokenPattern = /^([0-9a-z]{20})\.([A-Za-z0-9_-]{43})$/;

/**
 * A token as it is kept. Its secret has 256 random bits, so its plain SHA-256 cannot be searched for and needs neither salt
 * nor stretching; who reads the file learns no token from it.
 */
export const tokenRecord = z.object({
  id: z.string(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  label: z.string().optional(),
  scopes: z.array(z.string()),
  machines: z.array(z.string()).optional(),
  created_at: z.iso.datetime(),
  created_by: z.string(),
  expires_at: z.iso.datetime().optional(),
  last_used_at: z.iso.datetime().optional(),
  last_used_from: z.string().optional(),
  revoked_at: z.iso.datetime().optional(),
});
export type TokenRecord = z.infer<typeof tokenRecord>;

/** Why a token lets nobody in. For the log and the audit alone. */
export type TokenRefusal =
  | 'token_missing'
  | 'token_unknown'
  | 'token_wrong'
  | 'token_revoked'
  | 'token_expired';

export function newSecret(nowMs: number): { id: string; token: string; sha256: string } {
  const id = newId(nowMs);
  const secret = randomBytes(secretBytes).toString('base64url');
  return { id, token: `${id}.${secret}`, sha256: hash(secret).toString('hex') };
}

/**
 * The record of a token that holds, or why it does not. The secret is compared in constant time and before anything else, for
 * an id that nobody knows too.
 */
export function judge(
  token: string | undefined,
  recordOf: (id: string) => TokenRecord | undefined,
  nowMs: number,
): { record?: TokenRecord; refusal?: TokenRefusal } {
  const [, id, secret = ''] = tokenPattern.exec(token ?? '') ?? [];
  const record = id === undefined ? undefined : recordOf(id);
  const expected = record ? Buffer.from(record.sha256, 'hex') : Buffer.alloc(secretBytes);
  const right = timingSafeEqual(expected, hash(secret));
  if (token === undefined) return { refusal: 'token_missing' };
  if (!record) return { refusal: 'token_unknown' };
  if (!right) return { record, refusal: 'token_wrong' };
  const status = statusOf(record, nowMs);
  return status === 'active' ? { record } : { record, refusal: `token_${status}` };
}

export function statusOf({ revoked_at, expires_at }: TokenRecord, nowMs: number): TokenView['status'] {
  if (revoked_at !== undefined) return 'revoked';
  return expires_at !== undefined && nowMs >= Date.parse(expires_at) ? 'expired' : 'active';
}

export function viewOfToken({ sha256: _, ...record }: TokenRecord, nowMs: number): TokenView {
  return { ...record, status: statusOf({ sha256: '', ...record }, nowMs) };
}

function hash(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
