import { hash } from 'node:crypto';
import { type AuditLine, auditLine } from '@codex-remote/protocol/schema';
import { type AuditEntry, fieldsOf } from './entry.ts';

/** A place in the chain: the number of a line and the hash of its bytes. */
export interface Head {
  readonly seq: number;
  readonly hash: string;
}

/** Before the first line. */
export const genesis: Head = { seq: 0, hash: '0'.repeat(64) };

/** The line that follows `head`, with its newline, and the place that it is. */
export function nextLine(head: Head, atMs: number, entry: AuditEntry): { text: string; head: Head } {
  const seq = head.seq + 1;
  const line = JSON.stringify({
    v: 1,
    seq,
    prev: head.hash,
    at: new Date(atMs).toISOString(),
    ...fieldsOf(entry),
  });
  return { text: `${line}\n`, head: { seq, hash: hashOf(line) } };
}

export function hashOf(line: string | Uint8Array): string {
  return hash('sha256', line, 'hex');
}

/** Undefined for what is no line of ours, byte for byte. */
export function parseLine(bytes: Uint8Array): AuditLine | undefined {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    const value: unknown = JSON.parse(text.toString());
    const line = auditLine.parse(value);
    // The same value has many spellings; we write one.
    return Buffer.from(JSON.stringify(value)).equals(text) ? line : undefined;
  } catch {
    return undefined;
  }
}
