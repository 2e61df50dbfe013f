import { createHash } from 'node:crypto';

/** Who asked and from where: always from the connection, never from what was sent over it. */
export interface Caller {
  /** `uid:1000`, `token:ID`, `agent:KEY`, `controller`. */
  readonly principal: string;
  /** `unix`, the address of a direct connection, `tunnel` … */
  readonly source: string;
}

/** What became of it. `requested`: about to be sent; another entry of the same exec says what followed. */
export type AuditResult =
  | 'requested'
  | 'accepted'
  | 'attached'
  | 'refused'
  | 'failed'
  | 'unknown'
  | 'unchanged'
  | 'done';

export interface AuditEntry extends Caller {
  /** Noun and verb, `exec.start`. */
  readonly verb: string;
  readonly machine?: string | undefined;
  readonly exec_id?: string | undefined;
  /** Secrets are taken out by whoever knows them (`redacted`); what is long is cut here. */
  readonly argv?: readonly string[] | undefined;
  /** The agent's HMAC of the request: equal where two requests are the same, and tells nothing of them. */
  readonly digest?: string | undefined;
  readonly cwd?: string | undefined;
  readonly result: AuditResult;
  /** An error code and its message, or a word. */
  readonly reason?: string | undefined;
  readonly facts?: Readonly<Record<string, string | number | boolean>> | undefined;
}

/** What is kept of an argument vector, and of any other text. Bytes, before JSON escapes. */
const maxArgvBytes = 2048;
const maxTextBytes = 1024;
const mask = '***';
/** Shorter values would mask half of every line, and are no secrets. */
const minSecretLength = 4;

/** `text` without the values in `secrets`. Best effort: one that was encoded or split is not found. */
export function redacted(text: string, secrets: readonly string[]): string {
  let shown = text;
  // Longest first: one that holds another is masked whole.
  for (const secret of [...secrets].sort((a, b) => b.length - a.length))
    if (secret.length >= minSecretLength) shown = shown.replaceAll(secret, mask);
  return shown;
}

/** The fields of an entry as they are written: in one order, absent ones left out, nothing of unlimited size. */
export function fieldsOf(entry: AuditEntry): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  const add = (name: string, value: string | undefined): void => {
    if (value !== undefined) fields[name] = cut(value, maxTextBytes);
  };
  add('principal', entry.principal);
  add('source', entry.source);
  add('verb', entry.verb);
  add('machine', entry.machine);
  add('exec_id', entry.exec_id);
  if (entry.argv) Object.assign(fields, argvFields(entry.argv));
  add('digest', entry.digest);
  add('cwd', entry.cwd);
  add('result', entry.result);
  add('reason', entry.reason);
  if (entry.facts && Object.keys(entry.facts).length > 0)
    fields.facts = Object.fromEntries(
      Object.entries(entry.facts).map(([name, value]) => [
        name,
        typeof value === 'string' ? cut(value, maxTextBytes) : value,
      ]),
    );
  return fields;
}

/** What does not fit is left out, and told by the number and the SHA-256 of all: NUL after each argument. */
function argvFields(argv: readonly string[]): Record<string, unknown> {
  const kept: string[] = [];
  let left = maxArgvBytes;
  for (const word of argv) {
    const shown = cut(word, left);
    kept.push(shown);
    left -= Buffer.byteLength(shown);
    if (shown !== word || left <= 0) break;
  }
  if (kept.length === argv.length && kept.at(-1) === argv.at(-1)) return { argv: kept };
  const hash = createHash('sha256');
  for (const word of argv) hash.update(word).update('\0');
  return { argv: kept, argv_count: argv.length, argv_sha256: hash.digest('hex') };
}

/** At most `bytes` bytes of UTF-8, whole characters, with `…` where something is left out. Lone surrogates become U+FFFD. */
function cut(text: string, bytes: number): string {
  const encoded = Buffer.from(text.length > bytes ? text.slice(0, bytes + 1) : text);
  if (text.length <= bytes && encoded.byteLength <= bytes) return encoded.toString();
  let end = Math.max(0, bytes - 3);
  while (end > 0 && ((encoded[end] ?? 0) & 0xc0) === 0x80) end--;
  return `${encoded.toString('utf8', 0, end)}…`;
}
