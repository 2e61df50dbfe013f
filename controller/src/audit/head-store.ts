import { chmodSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { StateDamage } from '../history/state-damage.ts';
import type { Head } from './chain.ts';

/** Where the end of the log is kept a second time, so that a log whose end was cut off does not look whole. */
export interface HeadStore {
  load(): Head | undefined;
  /** Only of lines that are on disk. */
  save(head: Head): void;
  close(): void;
}

const schema = `
  CREATE TABLE IF NOT EXISTS audit_head (
    one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL
  ) STRICT;
`;

/** Beside the history, in its database. */
export class SqliteHeadStore implements HeadStore {
  readonly #db: DatabaseSync;
  readonly #damage: StateDamage;
  readonly #save: StatementSync;

  /** Throws `state_unusable`. */
  constructor(path: string) {
    this.#damage = new StateDamage(path);
    this.#db = this.#damage.told(() => new DatabaseSync(path));
    try {
      this.#save = this.#damage.told(() => {
        this.#db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 2000;');
        this.#db.exec(schema);
        return this.#db.prepare(
          'INSERT INTO audit_head VALUES (1, ?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq, hash = excluded.hash',
        );
      });
      if (path !== ':memory:') chmodSync(path, 0o600);
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  load(): Head | undefined {
    const row = this.#damage.told(() => this.#db.prepare('SELECT seq, hash FROM audit_head').get());
    return row && { seq: Number(row.seq), hash: String(row.hash) };
  }

  save(head: Head): void {
    this.#damage.told(() => this.#save.run(head.seq, head.hash));
  }

  close(): void {
    this.#db.close();
  }
}
