import { hash } from 'node:crypto';
import { z } from 'zod';
import { type AuditEntry, fieldsOf } from './entry.ts';

/** A place in the chain: the number of a line and the hash of its bytes. */
export interface Head {
  readonly seq: number;
  readonly hash: string;
}

/** Before the first line. */
export const genesis: Head = { seq: 0, hash: '0'.repeat(64) };

const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/);

/** One line: JSON without spaces, its keys in the order in which they are written here. */
export const auditLine = z.strictObject({
  v: z.literal(1),
  /** 1 for the first line of all, then one more each. */
  seq: z.number().int().positive(),
  /** SHA-256 of the bytes of the line before, without its newline, whichever file that is in. */
  prev: sha256Hex,
  at: z.string(),
  principal: z.string(),
  source: z.string(),
  verb: z.string(),
  machine: z.string().optional(),
  exec_id: z.string().optional(),
  argv: z.array(z.string()).optional(),
  argv_count: z.number().int().optional(),
  argv_sha256: sha256Hex.optional(),
  digest: z.string().optional(),
  cwd: z.string().optional(),
  result: z.string(),
  reason: z.string().optional(),
  facts: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
});
export type AuditLine = z.infer<typeof auditLine>;

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
