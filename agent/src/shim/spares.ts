import type { Clock, Timer } from '@codex-remote/protocol/wire';
import type { StagedShim } from './shim-factory.ts';

/** Starts that follow each other closer than this are not held up by making spares, as long as one is left. */
const quietMs = 50;

/**
 * Shims that were started before their job is known: a spawn, two shells, two pumps and a setsid then cost the next start
 * nothing. Each is eight idle processes of about 1 MB together, so few are kept.
 */
export class Spares {
  readonly #make: () => Promise<StagedShim>;
  readonly #discard: (staged: StagedShim) => void;
  readonly #wanted: number;
  readonly #clock: Clock;
  #ready: StagedShim[] = [];
  #filling = false;
  /** Changes when what was made before is of no use. */
  #generation = 0;
  #timer: Timer | undefined;
  #closed = false;

  constructor(
    make: () => Promise<StagedShim>,
    discard: (staged: StagedShim) => void,
    wanted: number,
    clock: Clock,
  ) {
    this.#make = make;
    this.#discard = discard;
    this.#wanted = wanted;
    this.#clock = clock;
  }

  /** One that waits at its gate, or undefined. It belongs to the caller. */
  take(): StagedShim | undefined {
    for (;;) {
      const staged = this.#ready.shift();
      if (!staged) return undefined;
      if (staged.shim.alive) return staged;
      this.#discard(staged);
    }
  }

  /** Makes what is missing: when nothing was started for a moment, or at once when none is left. */
  refill(): void {
    this.#timer?.cancel();
    if (this.#closed) return;
    const none = this.#ready.length === 0;
    this.#timer = this.#clock.setTimer(none ? 0 : quietMs, () => void this.#fill());
  }

  /** The environment has changed, or is known at last: those that wait have another one. */
  renew(): void {
    this.#drop();
    this.refill();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#drop();
  }

  /** One after the other: a spawn stops the agent for some milliseconds. */
  async #fill(): Promise<void> {
    if (this.#filling) return;
    this.#filling = true;
    while (!this.#closed && this.#ready.length < this.#wanted && (await this.#add()));
    this.#filling = false;
  }

  /** False when there is no room for a spare now: starts make their own, and the next one asks again. */
  async #add(): Promise<boolean> {
    const generation = this.#generation;
    try {
      const staged = await this.#make();
      if (this.#closed || generation !== this.#generation) this.#discard(staged);
      else this.#ready.push(staged);
      return true;
    } catch {
      return false;
    }
  }

  #drop(): void {
    this.#generation++;
    for (const staged of this.#ready.splice(0)) this.#discard(staged);
  }
}
