import type { Report } from '@codex-remote/platform/sync';
import type { Entry, FilterRule } from '@codex-remote/platform/tree';
import type { SyncCounts } from '@codex-remote/protocol/schema';

/** Two trees: what is here becomes what is there, or the other way round. */
export interface SyncOrder {
  readonly machine: string;
  /** How long to wait for a known machine that is just reconnecting. */
  readonly connectWaitMs: number;
  /** An absolute path here, and one of the machine: bytes. */
  readonly local: Uint8Array;
  readonly remote: Uint8Array;
  readonly rules: readonly FilterRule[];
  /** What `.gitignore` files and git leave out is left out. */
  readonly ignore: boolean;
  /** What the target has and the source does not is removed. */
  readonly delete: boolean;
  /** Files of one size and time are compared by their content too. */
  readonly checksum: boolean;
  /** Nothing is written; what would be is reported. */
  readonly dryRun: boolean;
  /** Of a pull: why an entry is not taken, where it is not. */
  readonly heldBack?: ((entry: Entry) => string | undefined) | undefined;
  /** Called for what is refused or skipped; with `verbose`, and in a dry run, for everything. */
  readonly report?: ((report: Report) => void) | undefined;
  readonly verbose?: boolean | undefined;
  readonly progress?: ((progress: SyncProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface SyncProgress {
  /** `waiting`: the connection broke, and is waited for. */
  readonly phase: 'comparing' | 'sending' | 'waiting' | 'ending';
  /** Names that were compared. */
  readonly entries: number;
  readonly files: number;
  readonly bytes: number;
  /** What is known so far of how many there will be. */
  readonly filesTotal: number;
  readonly bytesTotal: number;
}

export interface SyncSummary extends Omit<SyncCounts, 'entries'> {
  /** On the wire, both ways. */
  readonly sent_bytes: number;
  readonly received_bytes: number;
  readonly skipped: number;
  /** How often it went on after a connection that broke. */
  readonly resumed: number;
}

const names = [
  'entries',
  'files',
  'directories',
  'links',
  'changed',
  'removed',
  'unchanged',
  'bytes',
  'reused',
  'refused',
] as const satisfies (keyof SyncCounts)[];

/** What the other side says of itself; what is no number is 0. */
export function readCounts(value: unknown): SyncCounts {
  const fields = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  return Object.fromEntries(
    names.map((name) => [name, typeof fields[name] === 'number' ? fields[name] : 0]),
  ) as Record<(typeof names)[number], number>;
}

/** Adds up passes over the same trees: what an earlier one did is unchanged to the last one. */
export function addPass(sum: SyncCounts, pass: SyncCounts): SyncCounts {
  const { files, directories, links, changed } = sum;
  return {
    entries: pass.entries,
    files: files + pass.files,
    directories: directories + pass.directories,
    links: links + pass.links,
    changed: changed + pass.changed,
    removed: sum.removed + pass.removed,
    unchanged: Math.max(0, pass.unchanged - files - directories - links - changed),
    bytes: sum.bytes + pass.bytes,
    reused: sum.reused + pass.reused,
    refused: pass.refused,
  };
}
