import { closeSync, constants, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { type ExecEnded, isEnded } from '@codex-remote/protocol/schema';
import {
  type CancelIntent,
  type JournalLine,
  journalLine,
  parseStored,
  type StoredIdentity,
  type StoredSpec,
} from './stored.ts';

/** What the agents that had this exec have noted, folded. */
export interface Journal {
  readonly spec?: StoredSpec;
  readonly identity?: StoredIdentity;
  readonly cancel?: CancelIntent;
  readonly orphaned: boolean;
  readonly warnings?: readonly string[];
  /** The verdict: the first one stands. */
  readonly end?: ExecEnded;
  readonly acknowledged: boolean;
  readonly acknowledgedMs?: number;
  /** What could not be verified and was left out: the unfinished last line, or something before it. */
  readonly damage?: 'torn' | 'damaged';
}

/**
 * A newline on both sides: a torn line before it spoils nothing. `sum` is the CRC-32 of the line without it, so that a
 * line that has changed is not taken for another one; agents that know no sum pass over it.
 */
export function encodeLine(line: JournalLine): string {
  const text = JSON.stringify(line);
  return `\n${text.slice(0, -1)},"sum":"${sumOf(text)}"}\n`;
}

/** To a journal that is open for appending: the whole line or nothing. Throws what the system said. */
export function writeLine(fd: number, line: JournalLine): void {
  const bytes = Buffer.from(encodeLine(line));
  const { size } = fstatSync(fd);
  try {
    for (let at = 0; at < bytes.byteLength; ) at += writeSync(fd, bytes, at);
  } catch (error) {
    ftruncateSync(fd, size);
    throw error;
  }
}

/** Throws what the system said. */
export function appendLine(path: string, line: JournalLine): void {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  const fd = openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  try {
    writeLine(fd, line);
  } finally {
    closeSync(fd);
  }
}

/** What an agent that starts with thousands of folders asks of each. */
export interface JournalGlance {
  readonly acknowledged: boolean;
  readonly acknowledgedMs?: number;
  /** When it ended, something in the background held its output. */
  readonly writersRemaining?: true;
}

/**
 * Of a journal with a verdict, every line of which is what an agent wrote by its sum; undefined for any other. Parses
 * none of them, which would take ten times as long.
 */
export function glanceAtJournal(text: string): JournalGlance | undefined {
  let end: string | undefined;
  let acknowledged: string | undefined;
  for (const line of text.split('\n')) {
    if (line === '') continue;
    if (!hasSum(line)) return undefined;
    if (line.startsWith('{"end":{')) end ??= line;
    else if (line.startsWith('{"acknowledged":true')) acknowledged = line;
  }
  if (end === undefined) return undefined;
  const ms = acknowledged && /"acknowledged_ms":(\d+)/.exec(acknowledged)?.[1];
  return {
    acknowledged: acknowledged !== undefined,
    ...(ms && { acknowledgedMs: Number(ms) }),
    // In a string its quotes would be escaped.
    ...(end.includes(',"writers_remaining":true') && { writersRemaining: true }),
  };
}

/** Lines that are torn, damaged or not ours say nothing; that there were some is told. */
export function foldJournal(text: string): Journal {
  let journal: Journal = { orphaned: false, acknowledged: false };
  const lines = text.split('\n');
  for (const [index, line] of lines.entries()) {
    if (line === '') continue;
    const said = isVerified(line) ? parseStored(journalLine, line) : undefined;
    if (!said) {
      const torn = index === lines.length - 1 && journal.damage === undefined;
      journal = { ...journal, damage: torn ? 'torn' : 'damaged' };
      continue;
    }
    const end = said.end && isEnded(said.end) ? said.end : undefined;
    journal = {
      ...journal,
      ...(said.spec && !journal.spec && { spec: said.spec }),
      ...(said.identity && !journal.identity && { identity: said.identity }),
      ...(said.cancel && { cancel: said.cancel }),
      ...(said.orphaned && { orphaned: true }),
      ...(said.warning !== undefined && { warnings: [...(journal.warnings ?? []), said.warning] }),
      ...(end && !journal.end && { end }),
      ...(said.acknowledged && { acknowledged: true }),
      ...(said.acknowledged_ms !== undefined && { acknowledgedMs: said.acknowledged_ms }),
    };
  }
  return journal;
}

/** True for a line of an agent that wrote no sums, too. */
function isVerified(line: string): boolean {
  return hasSum(line) || !sumPattern.test(line);
}

function hasSum(line: string): boolean {
  const sum = sumPattern.exec(line);
  return sum !== null && sumOf(`${line.slice(0, sum.index)}}`) === sum[1];
}

const sumPattern = /,"sum":"([0-9a-f]{8})"\}$/;

function sumOf(text: string): string {
  return crc32(text).toString(16).padStart(8, '0');
}
