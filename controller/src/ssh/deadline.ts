import { type Clock, RemoteError } from '@codex-remote/protocol/wire';

/** When an attempt is given up: its time has passed, or its caller has gone. */
export class Deadline {
  readonly #clock: Clock;
  readonly #at: number;
  readonly #signal: AbortSignal | undefined;

  constructor(clock: Clock, ms: number, signal?: AbortSignal) {
    this.#clock = clock;
    this.#at = clock.monotonic() + ms;
    this.#signal = signal;
  }

  get remainingMs(): number {
    return Math.max(0, this.#at - this.#clock.monotonic());
  }

  /** Runs `late` once, with the error where the caller has gone. The caller of `watch` cancels it on every path. */
  watch(late: (cancelled?: RemoteError) => void): { cancel(): void } {
    const aborted = (): void => {
      cancel();
      late(new RemoteError('cancelled', 'the connection is not wanted any more'));
    };
    const timer = this.#clock.setTimer(this.remainingMs, () => {
      cancel();
      late();
    });
    const cancel = (): void => {
      timer.cancel();
      this.#signal?.removeEventListener('abort', aborted);
    };
    if (this.#signal?.aborted) queueMicrotask(aborted);
    else this.#signal?.addEventListener('abort', aborted);
    return { cancel };
  }
}
