import { RemoteError } from '@codex-remote/protocol/wire';
import type { z } from 'zod';

/** What a peer sent, as `schema` has it. Throws `usage` that names the first field that is wrong. */
export function parseOrRefuse<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const field = issue?.path.join('.') ?? '';
  throw new RemoteError(
    'usage',
    `${what}: ${field === '' ? '' : `${field}: `}${issue?.message ?? 'not as expected'}`,
    {
      facts: { field },
    },
  );
}
