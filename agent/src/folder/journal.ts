import { appendFileSync, readFileSync, writeSync } from 'node:fs';
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
  /** The verdict: the first one stands. */
  readonly end?: ExecEnded;
  readonly acknowledged: boolean;
  readonly acknowledgedMs?: number;
}

/** A newline on both sides: a torn line before it spoils nothing. */
export function encodeLine(line: JournalLine): string {
  return `\n${JSON.stringify(line)}\n`;
}

/** To a journal that is open for appending. Throws what the system said. */
export function writeLine(fd: number, line: JournalLine): void {
  const bytes = Buffer.from(encodeLine(line));
  for (let at = 0; at < bytes.byteLength; ) at += writeSync(fd, bytes, at);
}

/** Throws what the system said. */
export function appendLine(path: string, line: JournalLine): void {
  appendFileSync(path, encodeLine(line), { mode: 0o600 });
}

/** Undefined when there is no such file; lines that are torn or not ours say nothing. */
export function readJournal(path: string): Journal | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
  return foldJournal(text);
}

export function foldJournal(text: string): Journal {
  let journal: Journal = { orphaned: false, acknowledged: false };
  for (const line of text.split('\n')) {
    const said = line === '' ? undefined : parseStored(journalLine, line);
    if (!said) continue;
    const end = said.end && isEnded(said.end) ? said.end : undefined;
    journal = {
      ...journal,
      ...(said.spec && !journal.spec && { spec: said.spec }),
      ...(said.identity && !journal.identity && { identity: said.identity }),
      ...(said.cancel && { cancel: said.cancel }),
      ...(said.orphaned && { orphaned: true }),
      ...(end && !journal.end && { end }),
      ...(said.acknowledged && { acknowledged: true }),
      ...(said.acknowledged_ms !== undefined && { acknowledgedMs: said.acknowledged_ms }),
    };
  }
  return journal;
}
