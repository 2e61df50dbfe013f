import { closeSync, fdatasync } from 'node:fs';
import { promisify } from 'node:util';

const syncData = promisify(fdatasync);

/** An open file that many want on disk: synced off the main thread, those who ask meanwhile share the next sync. Owns `fd`. */
export class GroupSync {
  readonly #fd: number;
  /** Settles after every sync that was asked for; never rejects. */
  #last: Promise<void> = Promise.resolve();
  /** Has not begun yet: it covers what is written until it does. */
  #waiting: Promise<void> | undefined;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Resolves when everything that was written before the call is on disk. Rejects with what the system said. */
  sync(): Promise<void> {
    this.#waiting ??= this.#afterLast();
    return this.#waiting;
  }

  /** What was asked for is done first. */
  close(): Promise<void> {
    return this.#last.then(() => closeSync(this.#fd));
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
