import { randomBytes } from 'node:crypto';
import { existsSync, renameSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type ExecState, isEnded, type QueuedReason } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { ExecFolder } from '../folder/folder.ts';
import type { Supervisor } from './supervisor.ts';
import type { Tombstones } from './tombstones.ts';

/** Where a queued exec stands, for its state. */
export interface Place {
  readonly reason: QueuedReason;
  /** Among those that wait in its queue, from 1 on. */
  readonly position?: number;
  /** At most `maxWaitingFor` of those whose end it waits for. */
  readonly waiting_for?: string[];
}

/** What an exec waits for that has not started. */
export interface Waiting {
  /** Undefined in the moment in which it leaves. */
  place(): Place | undefined;
  /** Resolves when it runs or has ended: its entry is another one then. */
  readonly left: Promise<void>;
}

/** One exec that has a folder. */
export interface Entry {
  readonly folder: ExecFolder;
  /** Of an ended exec; a running one asks its supervisor. */
  state: ExecState;
  supervisor: Supervisor | undefined;
  acknowledged: boolean;
  /** Epoch ms; unknown of what an older agent noted. */
  acknowledgedMs?: number;
  /** Of a queued exec. */
  readonly waiting?: Waiting;
}

/** What is kept in memory of the folders, and who hears of its changes. */
export class Entries {
  readonly #entries = new Map<string, Entry>();
  /** Folders that could not be read: what reads each again, or throws why not. */
  readonly #unread = new Map<string, () => void>();
  readonly #tombstones: Tombstones;
  readonly #trash: string;
  readonly #listeners = new Set<(state: ExecState) => void>();
  readonly #removals = new Set<(state: ExecState) => void>();

  /**
   * `tombstones` tell of ids that have no folder any more; their owner closes them. `trash`: a folder on the same disk
   * that is emptied at each start.
   */
  constructor(tombstones: Tombstones, trash: string) {
    this.#tombstones = tombstones;
    this.#trash = trash;
  }

  /** Throws `state_unusable` for an exec whose folder cannot be read. */
  find(id: string): Entry | undefined {
    this.#unread.get(id)?.();
    return this.#entries.get(id);
  }

  /** Throws `exec_not_found`, with `removed_at` when retention took it, and as `find` does. */
  get(id: string): Entry {
    const entry = this.find(id);
    if (entry) return entry;
    const removed = this.#tombstones.get(id);
    throw new RemoteError('exec_not_found', `exec_id not found: ${id}`, {
      exec_id: id,
      ...(removed && {
        hint: 'retention removed it; its id is remembered and never runs again',
        facts: { removed_at: new Date(removed.removedMs).toISOString() },
      }),
    });
  }

  /** In the order in which they were added. */
  all(): Entry[] {
    return [...this.#entries.values()];
  }

  add(entry: Entry): void {
    this.#unread.delete(entry.folder.id);
    this.#entries.set(entry.folder.id, entry);
  }

  /** An exec whose folder cannot be read now. `read` adds it when it can be, or throws. */
  addUnread(id: string, read: () => void): void {
    this.#unread.set(id, read);
  }

  /** Reads again what could not be read. */
  readAgain(): void {
    for (const read of this.#unread.values()) {
      try {
        read();
      } catch {
        // Still not.
      }
    }
  }

  /**
   * With its folder, which is out of the way at once and as a whole: after a crash an id has its folder or has none.
   * Resolves when the disk has been given back. Throws what the system said; then the entry stays.
   */
  async remove(id: string): Promise<void> {
    const entry = this.#entries.get(id);
    if (!entry) return;
    const state = this.#removals.size > 0 ? stateOf(entry) : undefined;
    const away = join(this.#trash, `removed-${randomBytes(9).toString('hex')}`);
    renameSync(entry.folder.path, away);
    this.#entries.delete(id);
    if (state) for (const listener of this.#removals) listener(state);
    // What cannot be removed now goes at the next start.
    await rm(away, { recursive: true, force: true }).catch(() => undefined);
  }

  /** Called at each change of a state, not of its numbers. Returns what ends it. */
  onChange(listener: (state: ExecState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Called when an exec is known no more, with its last state. */
  onRemoval(listener: (state: ExecState) => void): void {
    this.#removals.add(listener);
  }

  /** Takes over a state that is another one than before and tells the listeners. */
  changed(state: ExecState): void {
    const entry = this.#entries.get(state.exec_id);
    if (entry) {
      entry.state = state;
      if (isEnded(state)) entry.supervisor = undefined;
    }
    for (const listener of this.#listeners) listener(state);
    if (entry && isEnded(state)) rmSync(entry.folder.file('script'), { force: true });
  }

  /** Tells nobody anything any more. */
  close(): void {
    this.#listeners.clear();
    this.#removals.clear();
  }
}

/** With the sizes of now, where they can still grow. */
export function currentState(entry: Entry): ExecState {
  const { folder, waiting } = entry;
  const state = entry.supervisor?.state ?? entry.state;
  if (state.status === 'queued') return { ...state, ...waiting?.place() };
  if (isEnded(state) && !state.writers_remaining)
    return { ...state, ...folder.dropped(), ...goneWorktree(state) };
  const sizes = {
    stdout_bytes: folder.bytes('stdout'),
    stderr_bytes: folder.bytes('stderr'),
    ...folder.dropped(),
  };
  if (state.status !== 'running' || state.settling) return { ...state, ...sizes };
  const lastOutputMs = folder.lastOutputMs();
  const pid = state.pid ?? folder.record()?.job?.pid;
  return {
    ...state,
    ...sizes,
    ...(pid !== undefined && { pid }),
    ...(lastOutputMs !== undefined && { last_output_at: new Date(lastOutputMs).toISOString() }),
  };
}

/** Of an exec that has ended: its worktree can go before it does. */
function goneWorktree({ worktree }: ExecState): Pick<ExecState, 'worktree'> {
  if (!worktree || worktree.workspace !== undefined || existsSync(worktree.path)) return {};
  return { worktree: { ...worktree, removed: true } };
}

/** Undefined where it cannot be read any more. */
function stateOf(entry: Entry): ExecState | undefined {
  try {
    return entry.state;
  } catch {
    return undefined;
  }
}
