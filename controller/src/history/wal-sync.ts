import { closeSync, constants, fsyncSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { GroupSync } from '../group-sync.ts';

/** The write-ahead log of an open SQLite database, synced off the main thread. Its owner closes it before the database. */
export class WalSync {
  readonly #file: GroupSync;

  /** Throws what the system said. SQLite keeps the file while the database is open; a log that starts anew reuses it. */
  constructor(path: string) {
    this.#file = new GroupSync(openSync(path, constants.O_RDONLY));
    // The log may have been created a moment ago: its name is to be on disk before anything in it counts.
    const folder = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
    fsyncSync(folder);
    closeSync(folder);
  }

  /** Resolves when everything that was committed before the call is on disk. Rejects with what the system said. */
  sync(): Promise<void> {
    return this.#file.sync();
  }

  /** What was asked for is done first. */
  close(): void {
    void this.#file.close();
  }
}
