import type { Clock, Timer } from '@codex-remote/protocol/wire';

/** Work that is done some time after it was asked for, once for all who asked by then, and never twice at a time. */
export class Passes {
  readonly #clock: Clock;
  readonly #delayMs: number;
  readonly #work: () => Promise<void>;
  #timer: Timer | undefined;
  #passing = false;
  #closed = false;

  /** Where `work` throws it is tried again when it is next asked for. It looks at `closed` between its steps. */
  constructor(clock: Clock, delayMs: number, work: () => Promise<void>) {
    this.#clock = clock;
    this.#delayMs = delayMs;
    this.#work = work;
  }

  get closed(): boolean {
    return this.#closed;
  }

  soon(): void {
    if (this.#closed) return;
    this.#timer ??= this.#clock.setTimer(this.#delayMs, () => {
      this.#timer = undefined;
      void this.#pass();
    });
  }

  /** A pass that is under way ends at its next step. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #pass(): Promise<void> {
    // What happens meanwhile asks for a pass after this one.
    if (this.#passing) return this.soon();
    this.#passing = true;
    try {
      await this.#work();
    } catch {
      // A full disk, or a folder that is not ours to remove.
    } finally {
      this.#passing = false;
    }
  }
}
