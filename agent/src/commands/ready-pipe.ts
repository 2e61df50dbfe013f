import { closeSync, writeSync } from 'node:fs';

/**
 * The daemon's end of the pipe on which its starter waits. One byte: it is loaded and waits for the home, which another
 * agent has; that one may be ended now. Closed: it serves, or it has ended.
 */
export class ReadyPipe {
  #fd: number | undefined;

  constructor(fd: number | undefined) {
    this.#fd = fd;
  }

  get open(): boolean {
    return this.#fd !== undefined;
  }

  standingBy(): void {
    if (this.#fd === undefined) return;
    try {
      writeSync(this.#fd, '.');
    } catch {
      // Nobody waits any more.
      this.close();
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}
