import { closeSync, constants, fdatasync, fsyncSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';

const syncData = promisify(fdatasync);

/** The write-ahead log of an open SQLite database, synced off the main thread. Its owner closes it before the database. */
export class WalSync {
  readonly #fd: number;
  /** Settles after every sync that was asked for; never rejects. */
  #last: Promise<void> = Promise.resolve();
  /** Has not begun yet: it covers what is committed until it does. */
  #waiting: Promise<void> | undefined;

  /** Throws what the system said. SQLite keeps the file while the database is open; a log that starts anew reuses it. */
  constructor(path: string) {
    this.#fd = openSync(path, constants.O_RDONLY);
    // The log may have been created a moment ago: its name is to be on disk before anything in it counts.
    const folder = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
    fsyncSync(folder);
    closeSync(folder);
  }

  /** Resolves when everything that was committed before the call is on disk. Rejects with what the system said. */
  sync(): Promise<void> {
    this.#waiting ??= this.#afterLast();
    return this.#waiting;
  }

  /** What was asked for is done first. */
  close(): void {
    void this.#last.then(() => closeSync(this.#fd));
  }

  #afterLast(): Promise<void> {
    const done = this.#last.then(() => {
      this.#waiting = undefined;
      return syncData(this.#fd);
    });
    this.#last = done.catch(() => undefined);
    return done;
  }
}
