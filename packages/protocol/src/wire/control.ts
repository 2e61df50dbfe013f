import { encodeAck, encodePing, encodePong, encodeWindow } from './encode.ts';
import { Fifo } from './fifo.ts';
import type { WireLimits } from './limits.ts';

/**
 * Frames about the session that wait to be sent; they go before those of channels. Each kind keeps only what is newest
 * or a sum, so that a peer that asks much and reads nothing cannot make the queue grow; RESETs are counted instead.
 */
export class Control {
  readonly #limits: WireLimits;
  readonly #resets = new Fifo<Uint8Array>();
  /** Channel id -> credit to give, in the order in which they came up. */
  readonly #windows = new Map<number, number>();
  #ping: { nonce: bigint; sent: () => void } | undefined;
  #pong: bigint | undefined;
  #received = 0;
  #acknowledged = 0;
  #ackDue = false;

  constructor(limits: WireLimits) {
    this.#limits = limits;
  }

  /** Payload bytes of DATA and MESSAGE received so far. */
  get received(): number {
    return this.#received;
  }

  count(bytes: number): void {
    this.#received += bytes;
    if (this.#received - this.#acknowledged >= this.#limits.ackEveryBytes) this.#ackDue = true;
  }

  /** `sent` runs when the frame goes out: the round trip begins there, not in our queue. */
  ping(nonce: bigint, sent: () => void): void {
    this.#ping = { nonce, sent };
  }

  /** Takes the rest of what was received into account too: an idle session has nothing unacknowledged. */
  pong(nonce: bigint): void {
    this.#pong = nonce;
    this.#ackDue = this.#received > this.#acknowledged;
  }

  window(channel: number, credit: number): void {
    this.#windows.set(channel, (this.#windows.get(channel) ?? 0) + credit);
  }

  /** False: too many wait already, the peer takes none of them. Scope is the whole session. */
  reset(frame: Uint8Array): boolean {
    if (this.#resets.length >= this.#limits.maxControlBacklog) return false;
    this.#resets.push(frame);
    return true;
  }

  /** The channel is over: its credit is of no use to anyone. */
  forget(channel: number): void {
    this.#windows.delete(channel);
  }

  next(): Uint8Array | undefined {
    if (this.#pong !== undefined) {
      const nonce = this.#pong;
      this.#pong = undefined;
      return encodePong(nonce);
    }
    if (this.#ping) {
      const { nonce, sent } = this.#ping;
      this.#ping = undefined;
      sent();
      return encodePing(nonce);
    }
    if (this.#ackDue) {
      this.#ackDue = false;
      this.#acknowledged = this.#received;
      return encodeAck(this.#received);
    }
    for (const [channel, credit] of this.#windows) {
      this.#windows.delete(channel);
      return encodeWindow(channel, credit);
    }
    return this.#resets.shift();
  }
}
