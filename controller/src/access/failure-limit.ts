import type { Clock } from '@codex-remote/protocol/wire';
import { originOf } from '../gateway/admission.ts';

/** Failures of one address within `windowMs` that are answered and logged one by one. */
export const maxFailures = 20;
export const failureWindowMs = 60_000;
/** Addresses that are remembered; the one that failed longest ago is forgotten for a new one. */
const maxAddresses = 4096;

interface Failures {
  count: number;
  /** On the monotonic clock. */
  since: number;
}

/**
 * How often an address has failed to authenticate. It never looks at who succeeds: whoever shares an address with an
 * attacker is let in with a good token, so nobody is locked out; what is limited is the work and the log that guesses cost.
 */
export class FailureLimit {
  readonly #clock: Clock;
  readonly #keyOf: (who: string) => string;
  readonly #failed = new Map<string, Failures>();

  /** `keyOf`: what of who failed counts as one. */
  constructor(clock: Clock, keyOf: (who: string) => string = originOf) {
    this.#clock = clock;
    this.#keyOf = keyOf;
  }

  /** One more. `last`: from the next one on it is over the limit. */
  count(who: string): 'within' | 'last' | 'over' {
    const key = this.#keyOf(who);
    const now = this.#clock.monotonic();
    const before = this.#failed.get(key);
    const entry = before && now - before.since < failureWindowMs ? before : { count: 0, since: now };
    entry.count += 1;
    // Behind all others: the first one is the one that failed longest ago.
    this.#failed.delete(key);
    this.#failed.set(key, entry);
    const [oldest] = this.#failed.keys();
    if (this.#failed.size > maxAddresses && oldest !== undefined) this.#failed.delete(oldest);
    if (entry.count < maxFailures) return 'within';
    return entry.count === maxFailures ? 'last' : 'over';
  }
}
