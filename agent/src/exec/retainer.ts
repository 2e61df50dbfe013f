import { failpoint } from '@codex-remote/platform';
import { isEnded } from '@codex-remote/protocol/schema';
import type { Clock, Timer } from '@codex-remote/protocol/wire';
import type { Entries } from './entries.ts';
import { overRetention, type RetentionLimits } from './retention.ts';
import type { Tombstones } from './tombstones.ts';

/** Retention is looked after so long after an acknowledgement, many at once. */
const delayMs = 1_000;

/** Removes the execs that are over a limit and leaves a tombstone of each. */
export class Retainer {
  readonly #entries: Entries;
  readonly #tombstones: Tombstones;
  readonly #limits: RetentionLimits;
  readonly #clock: Clock;
  #timer: Timer | undefined;
  #closed = false;

  /** Owns neither: who has them closes them after this. */
  constructor(entries: Entries, tombstones: Tombstones, limits: RetentionLimits, clock: Clock) {
    this.#entries = entries;
    this.#tombstones = tombstones;
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Something may be over a limit now. */
  soon(): void {
    if (this.#closed) return;
    this.#timer ??= this.#clock.setTimer(delayMs, () => {
      this.#timer = undefined;
      this.#retain();
    });
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #retain(): void {
    const ended = this.#entries.all().flatMap((entry) => {
      if (!entry.acknowledged || !isEnded(entry.state)) return [];
      const { exec_id: id, stdout_bytes, stderr_bytes, ended_at } = entry.state;
      const endedMs = ended_at ? Date.parse(ended_at) : 0;
      const acknowledgedMs = entry.acknowledgedMs ?? endedMs;
      return [{ id, endedMs, acknowledgedMs, bytes: stdout_bytes + stderr_bytes }];
    });
    const over = overRetention(ended, this.#limits, this.#clock.wall());
    const states = over.flatMap((id) => {
      const state = this.#entries.find(id)?.state;
      return state && isEnded(state) ? [state] : [];
    });
    if (states.length === 0) return;
    try {
      // Remembered first: between the two an id is known twice, never not at all.
      failpoint('agent.tombstone.before');
      this.#tombstones.add(states, this.#clock.wall());
      failpoint('agent.tombstone.after');
      for (const id of over) this.#entries.remove(id);
      failpoint('agent.removal.after');
    } catch {
      // A full disk, or a folder that is not ours to remove: tried again after the next acknowledgement.
    }
  }
}
