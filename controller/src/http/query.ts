import { remotePath } from '@codex-remote/protocol/schema';
import { z } from 'zod';

/** Numbers and lists as they come in a query string. */
export const queryCount = z
  .string()
  .regex(/^\d{1,15}$/, 'a whole number')
  .transform(Number);

/** `1` or `0`. */
export const queryFlag = z
  .enum(['0', '1'])
  .default('0')
  .transform((value) => value === '1');

/** One value, or the same key several times. */
export const queryList = z
  .union([z.string(), z.array(z.string())])
  .transform((value) => (Array.isArray(value) ? value : [value]));

/** JSON in a query string. */
export const queryJson = z.string().transform((text, context): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    context.addIssue({ code: 'custom', message: 'not JSON' });
    return z.NEVER;
  }
});

/** Base64url of the bytes of a path. */
export const pathInQuery = z
  .string()
  .regex(/^[A-Za-z0-9_-]*$/, 'base64url')
  .transform((text): Uint8Array => Buffer.from(text, 'base64url'))
  .pipe(remotePath);

export const execParams = z.object({ id: z.string().min(1).max(64) });
export const machineParams = z.object({ name: z.string().min(1).max(300) });
