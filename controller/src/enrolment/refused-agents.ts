import type { Hello } from '@codex-remote/protocol/schema';
import type { Clock, ErrorCode } from '@codex-remote/protocol/wire';
import { FailureLimit } from '../access/failure-limit.ts';
import type { AuditEntry } from '../audit/entry.ts';
import { fingerprint } from './join-tokens.ts';

/** An agent that is refused comes again every few seconds, for as long as it runs: one entry says it. */
const againMs = 60 * 60 * 1000;
/** Of so many it is remembered when they were noted. */
const maxRemembered = 1000;

/** What is the agent's own doing: all else is of the network or of versions. */
const noted: readonly ErrorCode[] = ['unauthorized', 'duplicate_agent'];

/** Agents that came and were not let in, for the audit log; who comes to fill it gets a few lines a minute. */
export class RefusedAgents {
  readonly #clock: Clock;
  readonly #record: (entry: AuditEntry) => void;
  readonly #limit: FailureLimit;
  /** When each was noted last, on the monotonic clock. */
  readonly #last = new Map<string, number>();

  constructor(clock: Clock, record: (entry: AuditEntry) => void) {
    this.#clock = clock;
    this.#record = record;
    this.#limit = new FailureLimit(clock);
  }

  /**
   * `source`: the address, or the way on which it came; `peer`: who has that way, where it is of one machine alone. What it
   * said of itself is a claim.
   */
  note({ machine, agent_key }: Hello, source: string, code: ErrorCode, peer = source): void {
    if (!noted.includes(code)) return;
    const now = this.#clock.monotonic();
    const who = [peer, machine, agent_key, code].join(' ');
    const before = this.#last.get(who);
    if (before !== undefined && now - before < againMs) return;
    const counted = this.#limit.count(peer);
    if (counted === 'over') return;
    this.#last.delete(who);
    this.#last.set(who, now);
    const [oldest] = this.#last.keys();
    if (this.#last.size > maxRemembered && oldest !== undefined) this.#last.delete(oldest);
    this.#record({
      principal: `agent:${fingerprint(agent_key)}`,
      source,
      verb: 'machine.connect',
      machine,
      result: 'refused',
      reason: code,
      ...(counted === 'last' && { facts: { silenced: true } }),
    });
  }
}
