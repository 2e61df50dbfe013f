/** So many at once; who comes later waits. */
export class Slots {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  /** What gives the slot back; undefined where `signal` was aborted before there was one. */
  async enter(signal: AbortSignal): Promise<(() => void) | undefined> {
    while (this.#free === 0 && !signal.aborted) await this.#turn(signal);
    if (signal.aborted) {
      // Its turn is the next one's.
      if (this.#free > 0) this.#waiting.shift()?.();
      return undefined;
    }
    this.#free--;
    return () => {
      this.#free++;
      this.#waiting.shift()?.();
    };
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', abort);
        resolve();
      };
      const abort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(wake), 1);
        resolve();
      };
      signal.addEventListener('abort', abort, { once: true });
      this.#waiting.push(wake);
    });
  }
}
