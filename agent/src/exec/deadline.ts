import type { Clock, Timer } from '@codex-remote/protocol/wire';

/** A timer does not run while the machine sleeps: a deadline is late by at most this after its waking. */
const longestTimerMs = 30_000;

const retryMs = 1_000;

/**
 * Calls once when the machine's uptime has reached `dueUptimeMs`. Counts on the time since boot, which neither a restart
 * of the agent nor a changed wall clock moves; time asleep counts. Past: at the next turn. The owner cancels it.
 */
export class Deadline {
  readonly #clock: Clock;
  readonly #uptimeMs: () => number;
  readonly #due: number;
  readonly #reached: () => void;
  #timer: Timer | undefined;

  constructor(clock: Clock, uptimeMs: () => number, dueUptimeMs: number, reached: () => void) {
    this.#clock = clock;
    this.#uptimeMs = uptimeMs;
    this.#due = dueUptimeMs;
    this.#reached = reached;
    this.#arm();
  }

  cancel(): void {
    this.#timer?.cancel();
  }

  #arm(): void {
    this.#timer = this.#clock.setTimer(Math.min(longestTimerMs, Math.max(0, this.#left())), () => {
      if (this.#left() <= 0) this.#reached();
      else this.#arm();
    });
  }

  #left(): number {
    try {
      return this.#due - this.#uptimeMs();
    } catch {
      // No descriptor to read it with: later.
      return retryMs;
    }
  }
}
