import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { syncDirSync, writeDurableSync } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Step } from './steps.ts';

/** What is being done to a tree, on disk before the first step: where it still lies, it was cut. */
export interface Journal {
  readonly exec_id: string;
  /** The top of the tree. */
  readonly root: string;
  readonly steps: readonly Step[];
}

const name = 'journal.json';
const version = 1;

/** Durable when it returns. Throws what the system said. */
export function writeJournal(staging: string, journal: Journal): void {
  writeDurableSync(join(staging, name), JSON.stringify({ version, ...journal }));
}

/** Undefined where nothing was cut. Throws `state_unusable` for one that cannot be read: it is ours alone to write. */
export function readJournal(staging: string): Journal | undefined {
  let text: string;
  try {
    text = readFileSync(join(staging, name), 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
  const journal: unknown = parsed(text);
  if (typeof journal === 'object' && journal !== null && 'version' in journal && journal.version === version)
    return journal as unknown as Journal;
  throw new RemoteError('state_unusable', `${join(staging, name)} is not as it was written`, {
    hint: 'an apply was cut there; what it replaced lies beside it in old/',
  });
}

/** From here on it is done. */
export function dropJournal(staging: string): void {
  rmSync(join(staging, name));
  syncDirSync(staging);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
