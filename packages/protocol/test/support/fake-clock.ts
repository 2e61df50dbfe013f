import type { Clock, Timer } from '../../src/wire/index.ts';

interface Entry {
  at: number;
  order: number;
  run(): void;
}

/** A turn of the event loop: every promise that can go on has gone on. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Time that moves only when told. Timers of one instant run in the order in which they were set. */
export class FakeClock implements Clock {
  #now = 1000;
  #order = 0;
  readonly #timers = new Set<Entry>();

  get pending(): number {
    return this.#timers.size;
  }

  monotonic(): number {
    return this.#now;
  }

  wall(): number {
    return 1_700_000_000_000 + this.#now;
  }

  setTimer(ms: number, run: () => void): Timer {
    const entry = { at: this.#now + Math.max(ms, 0), order: this.#order++, run };
    this.#timers.add(entry);
    return { cancel: () => void this.#timers.delete(entry) };
  }

  /** Resolves after `ms` of this clock. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.setTimer(ms, resolve));
  }

  /** Time passes; every timer runs when it is due, and what it started goes on before the next. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (let next = this.#next(end); next; next = this.#next(end)) {
      this.#now = Math.max(this.#now, next.at);
      this.#timers.delete(next);
      next.run();
      await settle();
    }
    this.#now = end;
  }

  /** The process is stopped for `ms`: time has passed, nothing ran. */
  jump(ms: number): void {
    this.#now += ms;
  }

  /** Time passes until `condition` holds. Throws with `describe()` when it does not within `maxMs`. */
  async until(condition: () => boolean, maxMs: number, describe: () => string = () => ''): Promise<void> {
    const end = this.#now + maxMs;
    await settle();
    while (!condition()) {
      const next = this.#next(end);
      if (!next) throw new Error(`not reached within ${maxMs} ms of fake time: ${describe()}`);
      this.#now = Math.max(this.#now, next.at);
      this.#timers.delete(next);
      next.run();
      await settle();
    }
  }

  #next(end: number): Entry | undefined {
    let first: Entry | undefined;
    for (const entry of this.#timers) {
      if (entry.at > end) continue;
      if (!first || entry.at < first.at || (entry.at === first.at && entry.order < first.order))
        first = entry;
    }
    return first;
  }
}
