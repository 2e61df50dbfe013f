import type { Clock, Timer } from '@codex-remote/protocol/wire';

export interface BackoffOptions {
  readonly clock: Clock;
  /** [0, 1). */
  readonly random: () => number;
  /** Upper end of the first wait. */
  readonly firstMs: number;
  /** Upper end of every wait. */
  readonly maxMs: number;
}

/** Exponential waiting with full jitter: each wait is uniform in [0, min(max, first * 2^n)), so that many peers spread out. */
export class Backoff {
  readonly #options: BackoffOptions;
  #failures = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** Call after success: the next wait is short again. */
  reset(): void {
    this.#failures = 0;
  }

  /** Waits its turn; resolves at once when `signal` is or becomes aborted (the caller looks at its signal anyway). */
  wait(signal: AbortSignal): Promise<void> {
    const { clock, random, firstMs, maxMs } = this.#options;
    const ceiling = Math.min(maxMs, firstMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      let timer: Timer | undefined;
      const done = (): void => {
        timer?.cancel();
        signal.removeEventListener('abort', done);
        resolve();
      };
      timer = clock.setTimer(random() * ceiling, done);
      signal.addEventListener('abort', done);
    });
  }
}
