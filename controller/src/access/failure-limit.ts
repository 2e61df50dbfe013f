import type { Clock } from '@codex-remote/protocol/wire';

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
  readonly #failed = new Map<string, Failures>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** One more. `last`: from the next one on this address is over the limit. */
  count(address: string): 'within' | 'last' | 'over' {
    const key = networkOf(address);
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

/** Who has one IPv6 address has the other 2^64 of its network too. */
function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined || !address.includes(':')) return mapped ?? address;
  const [head = '', tail] = address.split('%', 1)[0]?.split('::') ?? [];
  const left = head.split(':').filter(Boolean);
  const right = tail === undefined ? [] : tail.split(':').filter(Boolean);
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  return [...left, ...Array<string>(zeros).fill('0'), ...right].slice(0, 4).join(':');
}
