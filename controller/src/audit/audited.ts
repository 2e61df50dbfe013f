import { RemoteError } from '@codex-remote/protocol/wire';
import type { Audit } from './audit-log.ts';
import type { AuditEntry, AuditResult, Caller } from './entry.ts';

/** What an act is before it is done. */
export type Intent = Caller & Omit<AuditEntry, keyof Caller | 'result'>;

/** What is told of an act once it is done, beside what it is. */
export interface Outcome {
  readonly result: AuditResult;
  readonly exec_id?: string;
  readonly machine?: string;
  readonly facts?: AuditEntry['facts'];
}

/**
 * Records that something is about to be done, does it, and records what became of it. Nothing is done where the first cannot
 * be written; with `anyway` it is, and the log says later how many entries it lacks. The first entry is on disk before this
 * answers. Throws what `work` throws.
 */
export async function audited<T>(
  audit: Audit,
  intent: Intent,
  work: () => Promise<T>,
  outcome: (value: T) => Outcome = () => ({ result: 'done' }),
  { anyway = false }: { anyway?: boolean } = {},
): Promise<T> {
  const durable = begun(audit, intent, anyway);
  const { argv: _, cwd: __, ...what } = intent;
  try {
    const value = await work();
    audit.note({ ...what, ...outcome(value) });
    await durable;
    return value;
  } catch (error) {
    audit.note({ ...what, result: 'failed', reason: reasonOf(error) });
    await durable.catch(() => undefined);
    throw error;
  }
}

/** An error in few words; its code is what programs look for. */
export function reasonOf(error: unknown): string {
  const { code, message } = RemoteError.from(error);
  return `${code}: ${message}`.slice(0, 300);
}

function begun(audit: Audit, intent: Intent, anyway: boolean): Promise<void> {
  const entry: AuditEntry = { ...intent, result: 'requested' };
  if (anyway) return audit.record(entry).catch(() => undefined);
  try {
    return audit.write(entry).durable;
  } catch (error) {
    throw RemoteError.from(error).with({ sent: 'no' });
  }
}
