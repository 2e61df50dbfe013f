import type { StagedShim } from './shim-factory.ts';

/**
 * Shims that were started before their job is known: a spawn, two shells, two pumps and a setsid then cost the next start
 * nothing. Each is about eight idle processes of 1 MB together, so few are kept.
 */
export class Spares {
  readonly #make: () => Promise<StagedShim>;
  readonly #discard: (staged: StagedShim) => void;
  readonly #wanted: number;
  #ready: StagedShim[] = [];
  #making = 0;
  /** Changes when what was made before is of no use. */
  #generation = 0;
  #fill: NodeJS.Immediate | undefined;
  #closed = false;

  constructor(make: () => Promise<StagedShim>, discard: (staged: StagedShim) => void, wanted: number) {
    this.#make = make;
    this.#discard = discard;
    this.#wanted = wanted;
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

  /** Makes what is missing, after the work at hand. */
  refill(): void {
    if (this.#closed || this.#fill) return;
    this.#fill = setImmediate(() => {
      this.#fill = undefined;
      while (!this.#closed && this.#ready.length + this.#making < this.#wanted) void this.#add();
    });
  }

  /** The environment has changed: those that wait have the old one. */
  renew(): void {
    this.#drop();
    this.refill();
  }

  close(): void {
    this.#closed = true;
    clearImmediate(this.#fill);
    this.#drop();
  }

  async #add(): Promise<void> {
    const generation = this.#generation;
    this.#making++;
    try {
      const staged = await this.#make();
      if (this.#closed || generation !== this.#generation) this.#discard(staged);
      else this.#ready.push(staged);
    } catch {
      // No room for a spare now: starts make their own, and the next one asks again.
    } finally {
      this.#making--;
    }
  }

  #drop(): void {
    this.#generation++;
    for (const staged of this.#ready.splice(0)) this.#discard(staged);
  }
}
