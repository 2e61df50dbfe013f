import { failpoint } from '@codex-remote/platform';
import { type ExecEnded, isEnded } from '@codex-remote/protocol/schema';
import type { Clock } from '@codex-remote/protocol/wire';
import type { Entries, Entry } from './entries.ts';
import { Passes } from './passes.ts';
import { type EndedExec, overRetention, type RetentionLimits } from './retention.ts';
import type { Tombstones } from './tombstones.ts';

/** Retention is looked after so long after an acknowledgement, many at once. */
const delayMs = 1_000;
/** Execs that are looked at, or removed with one commit, before others get their turn. */
const batchExecs = 64;

/**
 * Removes the execs that are over a limit and leaves a tombstone of each. Each exec is looked at once: what ended and was
 * acknowledged does not change any more.
 */
export class Retainer {
  readonly #entries: Entries;
  readonly #tombstones: Tombstones;
  readonly #limits: RetentionLimits;
  readonly #clock: Clock;
  readonly #known = new Map<string, EndedExec>();
  readonly #passes: Passes;

  /** Owns neither: who has them closes them after this. */
  constructor(entries: Entries, tombstones: Tombstones, limits: RetentionLimits, clock: Clock) {
    this.#entries = entries;
    this.#tombstones = tombstones;
    this.#limits = limits;
    this.#clock = clock;
    this.#passes = new Passes(clock, delayMs, async () => {
      await this.#learn();
      await this.#retain();
    });
  }

  /** Something may be over a limit now. */
  soon(): void {
    this.#passes.soon();
  }

  /** A pass that is under way ends at its next step. */
  close(): void {
    this.#passes.close();
  }

  async #learn(): Promise<void> {
    let looked = 0;
    for (const entry of this.#entries.all()) {
      const { id } = entry.folder;
      if (!entry.acknowledged || this.#known.has(id)) continue;
      const state = endOf(entry);
      if (state) this.#known.set(id, endedExec(state, entry.acknowledgedMs));
      if (++looked % batchExecs === 0) await nextTurn();
      if (this.#passes.closed) return;
    }
  }

  async #retain(): Promise<void> {
    const over = overRetention([...this.#known.values()], this.#limits, this.#clock.wall());
    for (let at = 0; at < over.length && !this.#passes.closed; at += batchExecs) {
      const ids = over.slice(at, at + batchExecs);
      const states = ids.flatMap((id) => endOf(this.#entries.find(id)) ?? []);
      // Remembered first: between the two an id is known twice, never not at all.
      failpoint('agent.tombstone.before');
      this.#tombstones.add(states, this.#clock.wall());
      failpoint('agent.tombstone.after');
      for (const id of ids) {
        await this.#entries.remove(id);
        this.#known.delete(id);
      }
      failpoint('agent.removal.after');
    }
  }
}

function endOf(entry: Entry | undefined): ExecEnded | undefined {
  const state = entry?.state;
  return state && isEnded(state) ? state : undefined;
}

function endedExec(state: ExecEnded, acknowledgedMs: number | undefined): EndedExec {
  const { exec_id: id, stdout_bytes, stderr_bytes, ended_at } = state;
  const dropped = (state.stdout_dropped_bytes ?? 0) + (state.stderr_dropped_bytes ?? 0);
  const kept = state.artifacts?.bytes ?? 0;
  const endedMs = ended_at ? Date.parse(ended_at) : 0;
  return {
    id,
    endedMs,
    acknowledgedMs: acknowledgedMs ?? endedMs,
    bytes: stdout_bytes + stderr_bytes - dropped + kept,
  };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
