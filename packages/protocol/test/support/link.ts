import type { Clock, Timer, Transport, TransportHandlers } from '../../src/wire/index.ts';

export interface LinkOptions {
  /** One way, per frame. */
  delayMs(): number;
  bytesPerMs: number;
}

/**
 * A connection with a rate and a delay in simulated time. Bytes beyond what the rate has taken count as buffered. A cut
 * drops what is under way: `closed` reaches each end after its own delay; a blackhole takes and delivers nothing, and
 * nobody is told.
 */
export class Link {
  readonly a: LinkEnd;
  readonly b: LinkEnd;

  constructor(clock: Clock, options: LinkOptions) {
    this.a = new LinkEnd(clock, options);
    this.b = new LinkEnd(clock, options);
    this.a.peer = this.b;
    this.b.peer = this.a;
  }

  cut(delayA: number, delayB: number): void {
    this.a.cut(delayA);
    this.b.cut(delayB);
  }

  blackhole(): void {
    this.a.blackhole();
    this.b.blackhole();
  }

  /** Up, with nothing under way in either direction. */
  get idle(): boolean {
    return this.a.isUp && this.b.isUp && this.a.inFlight === 0 && this.b.inFlight === 0;
  }
}

export class LinkEnd implements Transport {
  peer: LinkEnd | undefined;
  readonly #clock: Clock;
  readonly #options: LinkOptions;
  readonly #timers = new Set<Timer>();
  #handlers: TransportHandlers | undefined;
  #early: Uint8Array[] = [];
  #buffered = 0;
  #freeAt = 0;
  #arriveAt = 0;
  #state: 'up' | 'black' | 'closing' | 'down' = 'up';
  inFlight = 0;

  constructor(clock: Clock, options: LinkOptions) {
    this.#clock = clock;
    this.#options = options;
  }

  attach(handlers: TransportHandlers): void {
    this.#handlers = handlers;
    for (const frame of this.#early) handlers.frame(frame);
    this.#early = [];
  }

  send(frame: Uint8Array): void {
    if (this.#state === 'closing' || this.#state === 'down') return;
    this.#buffered += frame.byteLength;
    if (this.#state === 'black') return;
    const now = this.#clock.monotonic();
    this.#freeAt = Math.max(this.#freeAt, now) + frame.byteLength / this.#options.bytesPerMs;
    this.#arriveAt = Math.max(this.#arriveAt, this.#freeAt + this.#options.delayMs());
    this.inFlight++;
    this.#after(this.#freeAt - now, () => {
      this.#buffered -= frame.byteLength;
      this.#handlers?.drained();
    });
    this.#after(this.#arriveAt - now, () => {
      this.inFlight--;
      this.peer?.receive(frame);
    });
  }

  bufferedBytes(): number {
    return this.#buffered;
  }

  close(): void {
    if (this.#state === 'closing' || this.#state === 'down') return;
    if (this.#state === 'black') {
      this.destroy();
      return;
    }
    this.#state = 'closing';
    const wait = Math.max(this.#arriveAt - this.#clock.monotonic(), 0) + 1;
    this.#after(wait, () => {
      this.peer?.gone();
      this.gone();
    });
  }

  destroy(): void {
    this.#drop();
    if (this.peer?.isUp) this.peer.cut(1);
    this.gone();
  }

  get isUp(): boolean {
    return this.#state === 'up';
  }

  receive(frame: Uint8Array): void {
    if (this.#state === 'black' || this.#state === 'down') return;
    if (!this.#handlers) {
      this.#early.push(frame);
      return;
    }
    this.#handlers.activity();
    this.#handlers.frame(frame);
  }

  cut(tellAfterMs: number): void {
    if (this.#state === 'down') return;
    this.#drop();
    this.#after(tellAfterMs, () => this.gone());
  }

  blackhole(): void {
    if (this.#state !== 'up') return;
    const buffered = this.#buffered;
    this.#drop();
    this.#buffered = buffered;
    this.#state = 'black';
  }

  gone(): void {
    this.#state = 'down';
    const handlers = this.#handlers;
    this.#handlers = undefined;
    handlers?.closed();
  }

  #drop(): void {
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    this.inFlight = 0;
    this.#buffered = 0;
    this.#state = 'closing';
  }

  #after(ms: number, run: () => void): void {
    const timer = this.#clock.setTimer(ms, () => {
      this.#timers.delete(timer);
      run();
    });
    this.#timers.add(timer);
  }
}
