import { broken } from './decode.ts';
import { RemoteError } from './errors.ts';
import { Inbox, type Incoming } from './inbox.ts';
import { frameHeaderBytes, type WireLimits } from './limits.ts';
import { encodeMessage } from './message.ts';
import { Outbox } from './outbox.ts';
import { type GrowthPool, ReceiveWindow } from './window.ts';

/**
 *   open       both sides may send
 *   sent_end   our END has gone out; the peer may still send
 *   got_end    the peer's END came; we may still send
 *   closed     both ENDs: the id is forgotten
 *   reset      by either side, or the session ended: the id is forgotten
 */
export type ChannelState = 'open' | 'sent_end' | 'got_end' | 'closed' | 'reset';

/**
 * One conversation of a session. Who has a channel ends it on every path: by `end` (and the peer's end), or by `reset`.
 *
 * A handler that waits for anything else than its channel (a file, a timer) watches `closed` beside it: after the peer's
 * END `receive` gives undefined also when the channel is reset.
 *
 * Promises of `send`, `write` and `writeFrame` resolve when the bytes are within credit and queue limits and handed to
 * the transport: waiting for them is the back-pressure. They reject with the RemoteError that ended the channel; a
 * rejection that nobody listens to is harmless, since `receive` throws the same.
 */
export interface Channel {
  readonly id: number;
  readonly verb: string;
  readonly state: ChannelState;
  /** Resolves when nothing will be sent or received any more; never rejects. */
  readonly closed: Promise<void>;
  /** True once the peer may know of the channel. False: what was asked for has not been sent. */
  readonly opened: boolean;
  /** One msgpack value. Rejects with `too_large` or `internal` (see encodeMessage) without harm to the channel. */
  send(message: unknown): Promise<void>;
  /** Bytes of any length, cut into frames. They must not change until the promise resolves. */
  write(bytes: Uint8Array): Promise<void>;
  /**
   * One DATA frame without a copy: `frame` has `frameHeaderBytes` of room at its front, the payload behind it, and at
   * most `maxFrameBytes` in all. It belongs to the channel from here on.
   */
  writeFrame(frame: Uint8Array): Promise<void>;
  /** No more will be sent; goes out after what is queued. Calling it again does nothing. */
  end(): void;
  /** Drops what is queued and received, and tells the peer why. On a channel that is over it does nothing. */
  reset(error: RemoteError): void;
  /**
   * The next item; undefined when the peer's side has ended. Taking it gives its credit back to the peer. Throws the
   * RemoteError that ended the channel: of a reset, or of the session. One caller at a time.
   *
   * What was received and not yet taken is dropped when the channel is reset or the session ends before the peer's END:
   * a late consumer never sees parts of a connection that another has replaced.
   */
  receive(): Promise<Incoming | undefined>;
  /** `receive` until undefined. Leaving the loop early does not end the channel. */
  [Symbol.asyncIterator](): AsyncIterator<Incoming, undefined>;
}

/** What a channel needs of its session. */
export interface ChannelOwner {
  readonly limits: WireLimits;
  readonly growth: GrowthPool;
  now(): number;
  roundTripMs(): number | undefined;
  /** The outbox may have become ready. */
  ready(outbox: Outbox): void;
  giveCredit(channel: number, credit: number): void;
  sendReset(channel: number, error: RemoteError): void;
  /** The id is to be forgotten. Called once. */
  over(channel: ChannelLife): void;
}

interface Waiter {
  resolve(item: Incoming | undefined): void;
  reject(error: RemoteError): void;
}

/** The channel with the half that only its session calls (`on…`): those throw `protocol_error` when the peer broke a rule. */
export class ChannelLife implements Channel {
  readonly id: number;
  readonly verb: string;
  readonly closed: Promise<void>;
  readonly outbox: Outbox;
  readonly #owner: ChannelOwner;
  readonly #inbox = new Inbox();
  readonly #window: ReceiveWindow;
  readonly #resolveClosed: () => void;
  #state: ChannelState = 'open';
  /** `end` was called; END itself may still wait behind what is queued. */
  #ending = false;
  /** Why `receive` throws once the inbox is empty. Absent when the peer's END came first. */
  #failure: RemoteError | undefined;
  #peerEnded = false;
  #waiter: Waiter | undefined;

  constructor(owner: ChannelOwner, id: number, verb: string, openedByPeer: boolean) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.id = id;
    this.verb = verb;
    this.closed = promise;
    this.#resolveClosed = resolve;
    this.#owner = owner;
    this.#window = new ReceiveWindow(owner.limits, owner.growth, owner.now());
    this.outbox = new Outbox(
      id,
      owner.limits,
      openedByPeer,
      () => owner.ready(this.outbox),
      () => this.#onEndSent(),
    );
  }

  get state(): ChannelState {
    return this.#state;
  }

  get opened(): boolean {
    return this.outbox.opened;
  }

  /** What the peer may still send, as far as it has been told. */
  get receiveCredit(): number {
    return this.#window.available;
  }

  send(message: unknown): Promise<void> {
    try {
      const payload = encodeMessage(message, this.#owner.limits);
      return this.#whileSending(() => this.outbox.message(payload));
    } catch (error) {
      return Promise.reject(RemoteError.from(error));
    }
  }

  write(bytes: Uint8Array): Promise<void> {
    if (bytes.byteLength === 0) return Promise.resolve();
    return this.#whileSending(() => this.outbox.bytes(bytes));
  }

  writeFrame(frame: Uint8Array): Promise<void> {
    const size = frame.byteLength;
    if (size <= frameHeaderBytes || size > this.#owner.limits.maxFrameBytes) {
      return Promise.reject(new RemoteError('internal', `a frame of ${size} bytes cannot be written`));
    }
    return this.#whileSending(() => this.outbox.frame(frame));
  }

  end(): void {
    if (this.#ending || this.#isOver()) return;
    this.#ending = true;
    this.outbox.end();
  }

  reset(error: RemoteError): void {
    if (this.#isOver()) return;
    this.#inbox.clear();
    this.#peerEnded = false;
    this.#fail(error);
    // Before OPEN has gone out there is nobody to tell.
    if (this.outbox.opened) this.#owner.sendReset(this.id, error);
  }

  receive(): Promise<Incoming | undefined> {
    if (this.#waiter)
      return Promise.reject(new RemoteError('internal', 'a channel has one receiver at a time'));
    try {
      const item = this.#take();
      if (item) return Promise.resolve(item);
    } catch (error) {
      return Promise.reject(RemoteError.from(error));
    }
    if (this.#peerEnded) return Promise.resolve(undefined);
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject };
    });
  }

  [Symbol.asyncIterator](): AsyncIterator<Incoming, undefined> {
    return {
      next: async () => {
        const item = await this.receive();
        return item === undefined ? { done: true, value: undefined } : { done: false, value: item };
      },
    };
  }

  /** `payload` has passed the pre-scan. A full backlog: scope is this channel. */
  onMessage(payload: Uint8Array): void {
    this.#admit(payload.byteLength);
    if (this.#inbox.messages >= this.#owner.limits.maxBacklogMessages) {
      const facts = { field: 'backlog_messages', value: this.#inbox.messages };
      this.reset(new RemoteError('too_large', 'messages are not taken as fast as they come', { facts }));
      return;
    }
    this.#inbox.pushMessage(payload);
    this.#deliver();
  }

  onData(payload: Uint8Array): void {
    this.#admit(payload.byteLength);
    const waiter = this.#waiter;
    if (!waiter) {
      this.#inbox.pushData(payload);
      return;
    }
    // Someone waits, so nothing is queued: no entry, no copy.
    this.#waiter = undefined;
    this.#credit(payload.byteLength);
    waiter.resolve({ kind: 'data', bytes: payload });
  }

  onWindow(credit: number): void {
    this.outbox.grant(credit);
  }

  onEnd(): void {
    if (this.#peerEnded) throw broken('channel', this.id, 'a channel is ended twice');
    this.#peerEnded = true;
    const waiter = this.#waiter;
    this.#waiter = undefined;
    waiter?.resolve(undefined);
    if (this.#state === 'sent_end') this.#finish('closed');
    else this.#state = 'got_end';
  }

  /** RESET from the peer, or the end of the session: nothing is sent any more. */
  onOver(error: RemoteError): void {
    if (this.#isOver()) return;
    if (!this.#peerEnded) this.#inbox.clear();
    this.#fail(error);
  }

  #onEndSent(): void {
    if (this.#state === 'got_end') this.#finish('closed');
    else this.#state = 'sent_end';
  }

  #admit(bytes: number): void {
    if (this.#peerEnded) throw broken('channel', this.id, 'a frame follows the END of its channel');
    this.#window.receive(bytes);
  }

  #deliver(): void {
    const waiter = this.#waiter;
    if (!waiter) return;
    const item = this.#take();
    if (!item) return;
    this.#waiter = undefined;
    waiter.resolve(item);
  }

  #take(): Incoming | undefined {
    const taken = this.#inbox.take();
    if (!taken) return undefined;
    this.#credit(taken.credit);
    return taken.item;
  }

  #credit(bytes: number): void {
    // A peer that has ended or is gone needs none.
    if (this.#peerEnded || this.#isOver()) return;
    const credit = this.#window.take(bytes, this.#owner.now(), this.#owner.roundTripMs());
    if (credit > 0) this.#owner.giveCredit(this.id, credit);
  }

  #whileSending(send: () => Promise<void>): Promise<void> {
    if (this.#ending)
      return Promise.reject(new RemoteError('internal', 'a channel was written to after its end'));
    return send();
  }

  #fail(error: RemoteError): void {
    this.#failure = error;
    this.outbox.fail(error);
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (!this.#peerEnded) waiter?.reject(error);
    this.#finish('reset');
  }

  #finish(state: 'closed' | 'reset'): void {
    this.#state = state;
    this.#window.release();
    this.#owner.over(this);
    this.#resolveClosed();
  }

  #isOver(): boolean {
    return this.#state === 'closed' || this.#state === 'reset';
  }
}
