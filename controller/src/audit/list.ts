import { readFile } from 'node:fs/promises';
import { setImmediate as breathe } from 'node:timers/promises';
import type { AuditLine, AuditList } from '@codex-remote/protocol/schema';
import { parseLine } from './chain.ts';
import { listSegments, splitLines } from './segments.ts';

export interface AuditFilter {
  /** At or after / before, epoch ms. */
  readonly since_ms?: number | undefined;
  readonly until_ms?: number | undefined;
  /** A verb, or a noun for all of its verbs. */
  readonly verb?: string | undefined;
  readonly machine?: string | undefined;
  readonly limit: number;
}

/** Lines that are looked at before others get their turn. */
const linesAtOnce = 256;

/** The newest lines that the filter lets through, newest first. Lines that are none are left to the verifier. */
export async function listAudit(dir: string, filter: AuditFilter): Promise<AuditList> {
  const entries: AuditLine[] = [];
  for (const { path } of listSegments(dir).reverse()) {
    const { lines } = splitLines(await readFile(path));
    for (const [index, bytes] of lines.reverse().entries()) {
      if (index % linesAtOnce === linesAtOnce - 1) await breathe();
      const line = parseLine(bytes);
      if (!line) continue;
      if (!passes(line, filter)) continue;
      if (entries.length === filter.limit) return { entries, more: true };
      entries.push(line);
    }
  }
  return { entries, more: false };
}

function passes(line: AuditLine, { since_ms, until_ms, verb, machine }: AuditFilter): boolean {
  const at = Date.parse(line.at);
  return (
    (since_ms === undefined || at >= since_ms) &&
    (until_ms === undefined || at < until_ms) &&
    (verb === undefined || line.verb === verb || line.verb.startsWith(`${verb}.`)) &&
    (machine === undefined || line.machine === machine)
  );
}
