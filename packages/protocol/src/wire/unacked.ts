import { broken } from './decode.ts';
import { Fifo } from './fifo.ts';
import type { WireLimits } from './limits.ts';

/** A point in what was sent, to measure with when its acknowledgement comes. */
interface Mark {
  readonly sent: number;
  readonly at: number;
  readonly ackedThen: number;
}

/**
 * Session-wide: payload bytes sent and not yet acknowledged. Over the limit DATA waits, so that what queues up in the
 * path on a slow link is a fraction of a second, not megabytes. The limit is twice the measured rate times the smallest
 * round trip, so a long fast path is still filled (the reasoning of BBR, RFC draft ietf-ccwg-bbr, much simplified).
 *
 * The smallest round trip is never forgotten: samples taken while the path is full are inflated by our own queue, and a
 * limit made from them would let that queue grow. A path that became longer gets the floor, and its next session
 * measures afresh.
 */
export class Unacked {
  readonly #limits: WireLimits;
  readonly #marks = new Fifo<Mark>();
  #sent = 0;
  #acked = 0;
  #lastMark = 0;
  #minRoundTripMs: number | undefined;
  #bytesPerMs = 0;
  #limit: number;

  constructor(limits: WireLimits) {
    this.#limits = limits;
    this.#limit = limits.minUnackedBytes;
  }

  get bytes(): number {
    return this.#sent - this.#acked;
  }

  get limit(): number {
    return this.#limit;
  }

  get mayData(): boolean {
    return this.bytes < this.#limit;
  }

  sent(bytes: number, now: number): void {
    this.#sent += bytes;
    if (this.#sent - this.#lastMark < this.#limits.ackEveryBytes) return;
    this.#lastMark = this.#sent;
    this.#marks.push({ sent: this.#sent, at: now, ackedThen: this.#acked });
  }

  /** An ACK came. Throws `protocol_error` when it goes back or is ahead of what was sent. */
  acked(total: number, now: number): void {
    if (total < this.#acked || total > this.#sent) {
      throw broken('ack_total', total, `ack is outside ${this.#acked}..${this.#sent}`);
    }
    this.#acked = total;
    let newest: Mark | undefined;
    for (let mark = this.#marks.peek(); mark && mark.sent <= total; mark = this.#marks.peek()) {
      newest = this.#marks.shift();
    }
    if (newest) this.#measure(total - newest.ackedThen, now - newest.at);
  }

  /** A round trip measured by PING counts like one measured by data. */
  roundTrip(ms: number): void {
    if (this.#minRoundTripMs === undefined || ms < this.#minRoundTripMs) this.#minRoundTripMs = ms;
  }

  #measure(bytes: number, ms: number): void {
    this.roundTrip(ms);
    if (ms <= 0 || this.#minRoundTripMs === undefined) return;
    const sample = bytes / ms;
    // Up at once, down slowly: a sender with little to say measures its own pauses.
    this.#bytesPerMs =
      sample > this.#bytesPerMs ? sample : this.#bytesPerMs + (sample - this.#bytesPerMs) / 16;
    const wanted = Math.ceil(2 * this.#bytesPerMs * this.#minRoundTripMs);
    this.#limit = Math.min(Math.max(wanted, this.#limits.minUnackedBytes), this.#limits.maxUnackedBytes);
  }
}
