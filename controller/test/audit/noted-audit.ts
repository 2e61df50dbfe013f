import type { Audit } from '../../src/audit/audit-log.ts';
import type { AuditEntry } from '../../src/audit/entry.ts';

/** Remembers what it was told, and is on no disk. */
export class NotedAudit implements Audit {
  readonly entries: AuditEntry[] = [];

  async record(entry: AuditEntry): Promise<void> {
    await this.write(entry).durable;
  }

  write(entry: AuditEntry): { durable: Promise<void> } {
    this.entries.push(entry);
    return { durable: Promise.resolve() };
  }

  note(entry: AuditEntry): void {
    this.entries.push(entry);
  }

  list(): ReturnType<Audit['list']> {
    return Promise.resolve({ entries: [], more: false });
  }

  verify(): ReturnType<Audit['verify']> {
    const { length } = this.entries;
    return Promise.resolve({
      ok: true,
      count: length,
      head: { seq: length, hash: '0'.repeat(64) },
      files: 1,
      first_seq: 1,
    });
  }
}
