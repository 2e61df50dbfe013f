import { type Clock, RemoteError, type Timer } from '@codex-remote/protocol/wire';

/** When an attempt is given up: its time has passed, or its caller has gone. The time in which a person is asked does not count. */
export class Deadline {
  readonly #clock: Clock;
  #at: number;
  readonly #ms: number;
  #standing = false;
  readonly #signal: AbortSignal | undefined;

  constructor(clock: Clock, ms: number, signal?: AbortSignal) {
    this.#clock = clock;
    this.#ms = ms;
    this.#at = clock.monotonic() + ms;
    this.#signal = signal;
  }

  get remainingMs(): number {
    return this.#standing ? this.#ms : Math.max(0, this.#at - this.#clock.monotonic());
  }

  /** The clock stands until `wait` has settled; what comes after an answer gets the whole time again. One at a time. */
  async standFor<T>(wait: () => Promise<T>): Promise<T> {
    this.#standing = true;
    try {
      return await wait();
    } finally {
      this.#standing = false;
      this.#at = this.#clock.monotonic() + this.#ms;
    }
  }

  /** Runs `late` once, with the error where the caller has gone. The caller of `watch` cancels it on every path. */
  watch(late: (cancelled?: RemoteError) => void): { cancel(): void } {
    const aborted = (): void => {
      cancel();
      late(new RemoteError('cancelled', 'the connection is not wanted any more'));
    };
    let timer: Timer;
    const arm = (): void => {
      timer = this.#clock.setTimer(this.remainingMs, () => {
        if (this.remainingMs > 0) return arm();
        cancel();
        late();
      });
    };
    arm();
    const cancel = (): void => {
      timer.cancel();
      this.#signal?.removeEventListener('abort', aborted);
    };
    if (this.#signal?.aborted) queueMicrotask(aborted);
    else this.#signal?.addEventListener('abort', aborted);
    return { cancel };
  }
}
