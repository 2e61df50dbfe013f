import { closeSync, writeSync } from 'node:fs';

/** What a daemon says, a byte each. */
export const readyWord = { standsBy: '.', serves: 's' } as const;

/**
 * The daemon's end of the pipe on which its starter waits. `standsBy`: it is loaded and waits for the home, which another
 * agent has; that one may be ended now. `serves`: the last byte. Closed without it: it has ended, though the process table
 * may still have it for a moment.
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
    this.#say(readyWord.standsBy);
  }

  serves(): void {
    this.#say(readyWord.serves);
    this.#close();
  }

  #say(word: string): void {
    if (this.#fd === undefined) return;
    try {
      writeSync(this.#fd, word);
    } catch {
      // Nobody waits any more.
      this.#close();
    }
  }

  #close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}
