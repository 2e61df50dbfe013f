import { closeSync, openSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { type ExecEnded, isEnded } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { parseStored, storedEnd } from '../folder/stored.ts';

/** How many are remembered; an id that was removed longer ago could run again. */
export const maxTombstones = 100_000;

export interface Tombstone {
  readonly state: ExecEnded;
  readonly removedMs: number;
}

/** What is left of execs that retention removed: enough to answer a re-sent id, so that it never runs again. */
export class Tombstones {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #select: StatementSync;
  readonly #trim: StatementSync;

  /**
   * Throws `state_unusable`. Only the holder of the agent's lock opens it: an exclusive one needs no shared memory, for
   * which a full disk has no room.
   */
  constructor(path: string, keep = maxTombstones) {
    try {
      closeSync(openSync(path, 'a', 0o600));
      this.#database = new DatabaseSync(path);
      this.#database.exec(`
        PRAGMA locking_mode = EXCLUSIVE;
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = FULL;
        CREATE TABLE IF NOT EXISTS tombstones (
          number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, state TEXT NOT NULL, removed_ms INTEGER NOT NULL
        ) STRICT;
      `);
      this.#insert = this.#database.prepare(
        'INSERT OR REPLACE INTO tombstones (id, state, removed_ms) VALUES (?, ?, ?)',
      );
      this.#select = this.#database.prepare('SELECT state, removed_ms FROM tombstones WHERE id = ?');
      this.#trim = this.#database.prepare(
        `DELETE FROM tombstones WHERE number <= (SELECT max(number) FROM tombstones) - ${Math.trunc(keep)}`,
      );
    } catch (error) {
      throw new RemoteError(
        'state_unusable',
        `the list of removed execs ${path} cannot be used`,
        { hint: `put a backup there, or move ${path}* away: ids that were removed could run again then` },
        error,
      );
    }
  }

  /** On disk when it returns: the folders may go then. */
  add(states: readonly ExecEnded[], removedMs: number): void {
    this.#database.exec('BEGIN');
    try {
      for (const state of states)
        this.#insert.run(state.exec_id, JSON.stringify(remembered(state)), Math.trunc(removedMs));
      this.#trim.run();
      this.#database.exec('COMMIT');
    } catch (error) {
      // Some errors of the disk have rolled back already.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
  }

  get(id: string): Tombstone | undefined {
    const row = this.#select.get(id);
    if (!row) return undefined;
    const state = parseStored(storedEnd, String(row.state));
    if (!state || !isEnded(state)) {
      throw new RemoteError('state_unusable', `what is remembered of the removed exec ${id} cannot be read`);
    }
    return { state, removedMs: Number(row.removed_ms) };
  }

  close(): void {
    this.#database.close();
  }
}

/** What was kept of it is gone with its folder. */
function remembered({ artifacts: _gone, ...state }: ExecEnded) {
  return state;
}
