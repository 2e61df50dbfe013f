import type { Clock } from './clock.ts';
import type { Control } from './control.ts';
import { Fifo } from './fifo.ts';
import { frameKind } from './frame.ts';
import { frameHeaderBytes, type WireLimits } from './limits.ts';
import type { Outbox, Readiness } from './outbox.ts';
import type { Transport } from './transport.ts';
import type { Unacked } from './unacked.ts';

interface WriterParts {
  transport: Transport;
  control: Control;
  unacked: Unacked;
  clock: Clock;
  limits: WireLimits;
}

/**
 * The one place that sends. It keeps little in the socket, so what is decided last can still be first there:
 *   1. frames about the session;
 *   2. channels in turn, one frame each. Those whose next frame is OPEN, MESSAGE or END have a ring of their own, and
 *      the two rings alternate: a reply waits for at most one DATA frame, and DATA for at most one of them.
 * Channels without credit or without anything to send are in no ring and cost nothing.
 */
export class Writer {
  readonly #transport: Transport;
  readonly #control: Control;
  readonly #unacked: Unacked;
  readonly #clock: Clock;
  readonly #limits: WireLimits;
  readonly #urgent = new Fifo<Outbox>();
  readonly #bulk = new Fifo<Outbox>();
  #bulkTurn = false;
  #pumping = false;
  #stopped = false;
  /** All bytes of frames handed to the transport, and when the last of them was: what the watchdog reads. */
  sentBytes = 0;
  lastSentAt: number;

  constructor(parts: WriterParts) {
    this.#transport = parts.transport;
    this.#control = parts.control;
    this.#unacked = parts.unacked;
    this.#clock = parts.clock;
    this.#limits = parts.limits;
    this.lastSentAt = parts.clock.monotonic();
  }

  /** Something about the outbox changed: credit, or its first item. */
  ready(outbox: Outbox): void {
    if (outbox.ring === 'none') this.#enter(outbox);
    this.pump();
  }

  /** Sends what may go now. Called whenever something was queued, credit or an ACK came, or the socket drained. */
  pump(): void {
    // A transport may deliver synchronously, and the peer's answer lands here again: the outer loop goes on with it.
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (!this.#stopped && this.#transport.bufferedBytes() < this.#limits.maxSocketBufferBytes) {
        const frame = this.#control.next() ?? this.#fromChannels();
        if (!frame) return;
        this.#send(frame);
      }
    } finally {
      this.#pumping = false;
    }
  }

  /** Nothing is sent from here on but `last`, whatever waits in the socket. */
  stop(last?: Uint8Array): void {
    this.#stopped = true;
    this.#urgent.clear();
    this.#bulk.clear();
    if (last) this.#transport.send(last);
  }

  #send(frame: Uint8Array): void {
    this.sentBytes += frame.byteLength;
    this.lastSentAt = this.#clock.monotonic();
    if (frame[0] === frameKind.data || frame[0] === frameKind.message) {
      this.#unacked.sent(frame.byteLength - frameHeaderBytes, this.lastSentAt);
    }
    this.#transport.send(frame);
  }

  #fromChannels(): Uint8Array | undefined {
    const first = this.#bulkTurn ? 'bulk' : 'urgent';
    return this.#fromRing(first) ?? this.#fromRing(first === 'bulk' ? 'urgent' : 'bulk');
  }

  #fromRing(name: 'urgent' | 'bulk'): Uint8Array | undefined {
    if (name === 'bulk' && !this.#unacked.mayData) return undefined;
    const ring = name === 'bulk' ? this.#bulk : this.#urgent;
    for (let outbox = ring.shift(); outbox; outbox = ring.shift()) {
      outbox.ring = 'none';
      // A reset may have emptied it meanwhile.
      const readiness: Readiness = outbox.readiness;
      if (readiness !== name) {
        this.#enter(outbox);
        continue;
      }
      this.#bulkTurn = name === 'urgent';
      const frame = outbox.take();
      this.#enter(outbox);
      return frame;
    }
    return undefined;
  }

  #enter(outbox: Outbox): void {
    outbox.ring = outbox.readiness;
    if (outbox.ring === 'urgent') this.#urgent.push(outbox);
    else if (outbox.ring === 'bulk') this.#bulk.push(outbox);
  }
}
