import type { AuditList, AuditVerdict } from '@codex-remote/protocol/schema';
import { z } from 'zod';
import type { ApiCall, ApiContext } from './context.ts';
import { queryCount } from './query.ts';

const defaultListLimit = 20;

export function listAudit({ audit }: ApiContext, call: ApiCall): Promise<AuditList> {
  const query = z
    .object({
      since_ms: queryCount.optional(),
      until_ms: queryCount.optional(),
      verb: z.string().max(64).optional(),
      machine: z.string().max(64).optional(),
      limit: queryCount.pipe(z.number().min(1).max(10_000)).default(defaultListLimit),
    })
    .parse(call.query);
  return audit.list(query);
}

export function verifyAudit({ audit }: ApiContext, _call: ApiCall): Promise<AuditVerdict> {
  return audit.verify();
}
