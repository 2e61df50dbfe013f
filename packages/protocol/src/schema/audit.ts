import { z } from 'zod';

const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/);

/** One line of the audit log: JSON without spaces, its keys in this order. Everything but the link is for people to read. */
export const auditLine = z.strictObject({
  v: z.literal(1),
  /** 1 for the first line of all, then one more each. */
  seq: z.number().int().positive(),
  /** SHA-256 of the bytes of the line before, without its newline, whichever file that is in; zeros before the first. */
  prev: sha256Hex,
  at: z.string(),
  /** `uid:1000`, `token:ID`, `agent:KEY`, `controller`. */
  principal: z.string(),
  /** `unix`, the address of a direct connection … */
  source: z.string(),
  /** Noun and verb. */
  verb: z.string(),
  machine: z.string().optional(),
  exec_id: z.string().optional(),
  argv: z.array(z.string()).optional(),
  /** Where `argv` was too long to be kept whole: how many there are, and the SHA-256 of all, a NUL after each. */
  argv_count: z.number().int().optional(),
  argv_sha256: sha256Hex.optional(),
  /** The agent's HMAC of the request. */
  digest: z.string().optional(),
  cwd: z.string().optional(),
  result: z.string(),
  reason: z.string().optional(),
  facts: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
});
export type AuditLine = z.infer<typeof auditLine>;

export const auditList = z.object({ entries: z.array(auditLine), more: z.boolean() });
export type AuditList = z.infer<typeof auditList>;

/** `ok: false`: the first line that is not as it was written. `line` 0 is the file as a whole. */
export const auditVerdict = z.discriminatedUnion('ok', [
  z.object({
    ok: z.literal(true),
    /** Lines that are there, and the last of them. */
    count: z.number().int(),
    head: z.object({ seq: z.number().int(), hash: sha256Hex }),
    files: z.number().int(),
    /** Lines before this one were let go by retention. */
    first_seq: z.number().int(),
  }),
  z.object({
    ok: z.literal(false),
    count: z.number().int(),
    file: z.string(),
    line: z.number().int(),
    problem: z.enum([
      'foreign_line',
      'bad_link',
      'gap',
      'reordered',
      'torn_line',
      'missing_file',
      'beginning_gone',
      'end_gone',
      'end_changed',
      'damage_recorded',
    ]),
    detail: z.string(),
  }),
]);
export type AuditVerdict = z.infer<typeof auditVerdict>;
