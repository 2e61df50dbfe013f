import { broken } from './decode.ts';
import type { WireLimits } from './limits.ts';

/**
 * Credit of one direction of one channel. Both sides count payload bytes of DATA and MESSAGE. What always holds, with
 * the link in between empty: sender's credit + what the receiver has not yet given back = the receiver's window.
 */
export class SendWindow {
  readonly #limits: WireLimits;
  #credit: number;

  constructor(limits: WireLimits) {
    this.#limits = limits;
    this.#credit = limits.initialWindowBytes;
  }

  get credit(): number {
    return this.#credit;
  }

  /** The caller has looked: `bytes <= credit`. */
  spend(bytes: number): void {
    this.#credit -= bytes;
  }

  /** A WINDOW came. Throws `protocol_error` on zero and on more than any window holds. */
  grant(bytes: number): void {
    if (bytes === 0) throw broken('credit', bytes, 'window gives no credit');
    if (this.#credit + bytes > this.#limits.maxWindowBytes) {
      throw broken('credit', bytes, `window brings the credit over ${this.#limits.maxWindowBytes}`);
    }
    this.#credit += bytes;
  }
}

/** What the windows of a session may grow by, together; each gives back what it took when its channel is over. */
export class GrowthPool {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  get left(): number {
    return this.#left;
  }

  /** Takes up to `bytes`, gives what it got. */
  take(bytes: number): number {
    const got = Math.min(bytes, this.#left);
    this.#left -= got;
    return got;
  }

  giveBack(bytes: number): void {
    this.#left += bytes;
  }
}

/**
 * The receiver's half. Credit goes back in halves of the window, to spare frames: a sender that waits has then at most
 * half a window and still room for a whole frame. When half a window was consumed within two round trips, the window is
 * what holds the sender up, not the consumer: it doubles, as far as the limits go.
 */
export class ReceiveWindow {
  readonly #limits: WireLimits;
  readonly #pool: GrowthPool;
  #size: number;
  /** Received and not yet given back: waiting for the consumer, or taken by it. */
  #outstanding = 0;
  /** Taken by the consumer, not yet given back. */
  #taken = 0;
  #lastGrantAt: number;

  constructor(limits: WireLimits, pool: GrowthPool, now: number) {
    this.#limits = limits;
    this.#pool = pool;
    this.#size = limits.initialWindowBytes;
    this.#lastGrantAt = now;
  }

  get size(): number {
    return this.#size;
  }

  /** What the sender may still send, as far as this side has told it. */
  get available(): number {
    return this.#size - this.#outstanding;
  }

  /** Throws `protocol_error` when the sender had no credit for it. */
  receive(bytes: number): void {
    if (bytes > this.available)
      throw broken('payload_bytes', bytes, `frame is over the credit of ${this.available}`);
    this.#outstanding += bytes;
  }

  /** The consumer took `bytes`. Gives the credit to send to the peer now, or 0. `roundTripMs` undefined: not known, no growth. */
  take(bytes: number, now: number, roundTripMs: number | undefined): number {
    this.#taken += bytes;
    if (this.#taken * 2 < this.#size) return 0;
    let credit = this.#taken;
    this.#outstanding -= credit;
    this.#taken = 0;
    if (roundTripMs !== undefined && now - this.#lastGrantAt <= 2 * roundTripMs) credit += this.#grow();
    this.#lastGrantAt = now;
    return credit;
  }

  /** The channel is over: gives its growth back. Calling it again does nothing. */
  release(): void {
    const growth = this.#size - this.#limits.initialWindowBytes;
    this.#size -= growth;
    if (growth > 0) this.#pool.giveBack(growth);
  }

  #grow(): number {
    const wanted = Math.min(this.#size, this.#limits.maxWindowBytes - this.#size);
    const got = this.#pool.take(wanted);
    this.#size += got;
    return got;
  }
}
