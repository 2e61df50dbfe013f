import { closeSync, openSync, readSync, rmSync, statSync } from 'node:fs';
import { failpoint, syncDirSync } from '@codex-remote/platform';
import type { AuditLine } from '@codex-remote/protocol/schema';
import { type Head, parseLine } from './chain.ts';
import type { AuditEntry } from './entry.ts';
import { listSegments, type Segment, splitLines } from './segments.ts';
import type { AuditSettings } from './settings.ts';

/** More than a line can have. */
const headBytes = 256 * 1024;
export const retentionVerb = 'audit.retention';

/** Files that may go, oldest first, and the last line that goes with them. */
export interface Removal {
  readonly segments: readonly Segment[];
  readonly through: Head;
}

/** What the settings let go; never the file that is written, whose end is `head`. */
export function dueRemoval(
  dir: string,
  settings: AuditSettings,
  head: Head,
  nowMs: number,
): Removal | undefined {
  const { keep_bytes, keep_days } = settings;
  if (keep_bytes === undefined && keep_days === undefined) return undefined;
  const all = listSegments(dir);
  let bytes = all.reduce((sum, { path }) => sum + statSync(path).size, 0);
  const going: Segment[] = [];
  let through: Head | undefined;
  for (const [at, segment] of all.entries()) {
    const next = all[at + 1];
    if (!next) break;
    // The line that begins the next file says where this one ends. What cannot be read is kept.
    const first = firstLine(next);
    const isBegun = statSync(next.path).size > 0;
    if (isBegun && !first) break;
    const tooMuch = keep_bytes !== undefined && bytes > keep_bytes;
    const tooOld =
      keep_days !== undefined && first !== undefined && Date.parse(first.at) < nowMs - keep_days * 86_400_000;
    if (!tooMuch && !tooOld) break;
    bytes -= statSync(segment.path).size;
    going.push(segment);
    through = first ? { seq: first.seq - 1, hash: first.prev } : head;
  }
  return through && { segments: going, through };
}

/** The checkpoint: in the chain, on disk before anything goes. The verifier begins behind it. */
export function checkpointOf({ segments, through }: Removal): AuditEntry {
  return {
    principal: 'controller',
    source: 'settings',
    verb: retentionVerb,
    result: 'done',
    facts: {
      through_seq: through.seq,
      through_hash: through.hash,
      files: segments.map(({ name }) => name).join(' '),
    },
  };
}

export function removeSegments(dir: string, { segments }: Removal): void {
  failpoint('controller.audit_remove.before');
  for (const { path } of segments) rmSync(path, { force: true });
  syncDirSync(dir);
  failpoint('controller.audit_remove.after');
}

function firstLine(segment: Segment): AuditLine | undefined {
  const fd = openSync(segment.path, 'r');
  try {
    const bytes = Buffer.alloc(headBytes);
    const length = readSync(fd, bytes, 0, headBytes, 0);
    const [line] = splitLines(bytes.subarray(0, length)).lines;
    return line && parseLine(line);
  } finally {
    closeSync(fd);
  }
}
