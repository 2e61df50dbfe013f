import { type Channel, ChannelLife, type ChannelOwner } from './channel.ts';
import type { Clock } from './clock.ts';
import { Control } from './control.ts';
import { broken, decodeFrame } from './decode.ts';
import { encodeWithPayload } from './encode.ts';
import { RemoteError } from './errors.ts';
import { type Frame, frameKind, maxChannelId } from './frame.ts';
import { checkLimits, defaultWireLimits, type WireLimits } from './limits.ts';
import { decodeError, decodeOpen, encodeError, encodeOpen } from './message.ts';
import { prescan } from './prescan.ts';
import type { Transport } from './transport.ts';
import { Unacked } from './unacked.ts';
import { Watchdog } from './watchdog.ts';
import { GrowthPool } from './window.ts';
import { Writer } from './writer.ts';

/** The controller's channel ids are odd, the agent's even: neither can take the other's. */
export type Side = 'controller' | 'agent';

export interface SessionOptions {
  /** Owned by the session from here on, see Transport. The handshake on it is over. */
  transport: Transport;
  side: Side;
  clock: Clock;
  limits?: WireLimits;
  /**
   * A channel that the peer opened. Runs while a frame is handled: it starts work and returns. What it throws or rejects
   * with resets the channel. Absent: the peer may ask nothing, its channels are reset with `unknown_verb`.
   */
  accept?: (channel: Channel, verb: string, params: unknown) => void | Promise<void>;
}

/** A round trip older than this is measured again when a receive window could grow. */
const roundTripFreshMs = 10_000;

/**
 * Many channels over one transport, from the end of the handshake to the end of the connection.
 *
 * Scope of failures: a broken rule (`protocol_error`, `frame_too_big`), silence, GOAWAY and the transport's end are the
 * end of the session; an unknown verb, too many channels and a full backlog reset their channel. The first cause is
 * kept; every channel and everyone who waits gets it. A session that has ended looks at nothing that still comes in.
 */
export class Session {
  /** Resolves with the first cause; never rejects. */
  readonly closed: Promise<RemoteError>;
  readonly #transport: Transport;
  readonly #side: Side;
  readonly #clock: Clock;
  readonly #limits: WireLimits;
  readonly #accept: SessionOptions['accept'];
  readonly #channels = new Map<number, ChannelLife>();
  readonly #control: Control;
  readonly #unacked: Unacked;
  readonly #writer: Writer;
  readonly #watchdog: Watchdog;
  readonly #owner: ChannelOwner;
  readonly #resolveClosed: (cause: RemoteError) => void;
  /** Frames that the transport had kept: handled after the constructor, so that `accept` can use the session. */
  #early: Uint8Array[] | undefined = [];
  #cause: RemoteError | undefined;
  #lastOwnId: number;
  #lastPeerId = 0;
  #ownOpen = 0;
  #peerOpen = 0;
  /** Who waits for the peer to answer a ping with this nonce or a later one. */
  readonly #probes = new Map<(answered: boolean) => void, bigint>();
  #pingNonce = 0n;
  /** When the ping with `#pingNonce` went out, until its pong. */
  #pingSentAt: number | undefined;
  #roundTrip: { ms: number; at: number } | undefined;

  constructor(options: SessionOptions) {
    const { promise, resolve } = Promise.withResolvers<RemoteError>();
    this.closed = promise;
    this.#resolveClosed = resolve;
    this.#transport = options.transport;
    this.#side = options.side;
    this.#clock = options.clock;
    this.#limits = checkLimits(options.limits ?? defaultWireLimits);
    this.#accept = options.accept;
    this.#lastOwnId = options.side === 'controller' ? -1 : 0;
    this.#control = new Control(this.#limits);
    this.#unacked = new Unacked(this.#limits);
    this.#writer = new Writer({
      transport: this.#transport,
      control: this.#control,
      unacked: this.#unacked,
      clock: this.#clock,
      limits: this.#limits,
    });
    this.#owner = this.#ownerOfChannels();
    this.#watchdog = new Watchdog({
      clock: this.#clock,
      limits: this.#limits,
      bufferedBytes: () => this.#transport.bufferedBytes(),
      sent: () => ({ bytes: this.#writer.sentBytes, at: this.#writer.lastSentAt }),
      ping: () => this.#ping(),
      gone: (cause) => this.#finish(cause, 'destroy'),
    });
    this.#attach();
  }

  /** The first cause, once the session has ended. */
  get ended(): RemoteError | undefined {
    return this.#cause;
  }

  get openChannels(): number {
    return this.#channels.size;
  }

  /** The last measured round trip, in milliseconds. */
  get roundTripMs(): number | undefined {
    return this.#roundTrip?.ms;
  }

  /**
   * Begins a channel; the peer answers on it. Throws the cause when the session has ended, `too_many_channels`, or what
   * encodeMessage throws for params that cannot travel or are over `maxOpenBytes`.
   */
  open(verb: string, params: unknown): Channel {
    if (this.#cause) throw this.#cause.with({ sent: 'no' });
    if (this.#ownOpen >= this.#limits.maxChannels) {
      throw new RemoteError('too_many_channels', `the session has ${this.#ownOpen} open channels`, {
        sent: 'no',
      });
    }
    const payload = encodeOpen(verb, params, this.#limits);
    const id = this.#lastOwnId + 2;
    if (id > maxChannelId) {
      const used = new RemoteError(
        'connection_reset',
        'connection reset by peer: the channel ids of the session are used up',
      );
      this.end(used);
      throw used;
    }
    this.#lastOwnId = id;
    this.#ownOpen++;
    const channel = new ChannelLife(this.#owner, id, verb, false);
    this.#channels.set(id, channel);
    channel.outbox.open(payload);
    return channel;
  }

  /** Tells the peer (GOAWAY) and closes the transport. Idempotent: the first cause is kept. */
  end(cause: RemoteError = new RemoteError('shutting_down', 'the session was ended')): void {
    this.#finish(cause, 'goaway');
  }

  #attach(): void {
    this.#transport.attach({
      frame: (bytes) => {
        if (this.#early) this.#early.push(bytes);
        else this.#onFrame(bytes);
      },
      activity: () => this.#watchdog.activity(),
      drained: () => this.#writer.pump(),
      closed: (cause) => this.#finish(lost(cause), 'nothing'),
    });
    if (this.#early?.length === 0) this.#early = undefined;
    else queueMicrotask(() => this.#handleEarly());
  }

  #handleEarly(): void {
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const bytes of early) this.#onFrame(bytes);
  }

  #onFrame(bytes: Uint8Array): void {
    if (this.#cause) return;
    this.#watchdog.activity();
    try {
      this.#dispatch(decodeFrame(bytes, this.#limits));
    } catch (error) {
      this.end(RemoteError.from(error));
    }
  }

  #dispatch(frame: Frame): void {
    switch (frame.kind) {
      case 'data':
        this.#count(frame.payload);
        this.#find(frame.channel)?.onData(frame.payload);
        return;
      case 'message':
        this.#count(frame.payload);
        prescan(frame.payload, this.#limits);
        this.#find(frame.channel)?.onMessage(frame.payload);
        return;
      case 'window':
        this.#find(frame.channel)?.onWindow(frame.credit);
        return;
      case 'end':
        this.#find(frame.channel)?.onEnd();
        return;
      case 'reset': {
        const error = decodeError(frame.payload, this.#limits);
        this.#find(frame.channel)?.onOver(error);
        return;
      }
      case 'open':
        this.#onOpen(frame.channel, frame.payload);
        return;
      case 'ping':
        this.#control.pong(frame.nonce);
        this.#writer.pump();
        return;
      case 'pong':
        this.#onPong(frame.nonce);
        return;
      case 'ack':
        this.#unacked.acked(frame.total, this.#clock.monotonic());
        this.#writer.pump();
        return;
      case 'goaway':
        this.#finish(
          decodeError(frame.payload, this.#limits).with({ facts: { reported_by: 'peer' } }),
          'close',
        );
        return;
    }
  }

  /** Bytes are acknowledged as they come, also those of a forgotten channel: the limit is about the path, not its reader. */
  #count(payload: Uint8Array): void {
    this.#control.count(payload.byteLength);
    this.#writer.pump();
  }

  /** The channel; undefined for a forgotten one, whose late frames are drained. A never-opened id is a broken rule. */
  #find(id: number): ChannelLife | undefined {
    const channel = this.#channels.get(id);
    const known = channel ? channel.opened : id <= (this.#isOwn(id) ? this.#lastOwnId : this.#lastPeerId);
    if (!known) throw broken('channel', id, 'a frame is for a channel that was never opened');
    return channel;
  }

  #onOpen(id: number, payload: Uint8Array): void {
    if (this.#isOwn(id))
      throw broken('channel', id, `the peer of a ${this.#side} opens channels of the other parity`);
    if (id <= this.#lastPeerId)
      throw broken('channel', id, `channel ids grow, and the last was ${this.#lastPeerId}`);
    this.#lastPeerId = id;
    const { verb, params } = decodeOpen(payload, this.#limits);
    const accept = this.#accept;
    if (!accept || this.#peerOpen >= this.#limits.maxChannels) {
      this.#sendReset(id, this.#refusal());
      return;
    }
    this.#peerOpen++;
    const channel = new ChannelLife(this.#owner, id, verb, true);
    this.#channels.set(id, channel);
    void this.#serve(channel, () => accept(channel, verb, params));
  }

  /** Why a new channel of the peer cannot be; scope is that channel. */
  #refusal(): RemoteError {
    if (!this.#accept) return new RemoteError('unknown_verb', `a ${this.#side} answers no requests`);
    return new RemoteError('too_many_channels', `the session has ${this.#peerOpen} open channels`);
  }

  async #serve(channel: ChannelLife, accept: () => void | Promise<void>): Promise<void> {
    try {
      await accept();
    } catch (error) {
      channel.reset(RemoteError.from(error));
    }
  }

  /** True once the peer has answered a ping of now, false when it has not within `withinMs` or the session ended. */
  answers(withinMs: number): Promise<boolean> {
    if (this.#cause) return Promise.resolve(false);
    return new Promise((resolve) => {
      const settle = (answered: boolean): void => {
        timer.cancel();
        this.#probes.delete(settle);
        resolve(answered);
      };
      const timer = this.#clock.setTimer(withinMs, () => settle(false));
      void this.closed.then(() => settle(false));
      this.#ping();
      this.#probes.set(settle, this.#pingNonce);
    });
  }

  #onPong(nonce: bigint): void {
    for (const [settle, asked] of [...this.#probes])
      if (nonce >= asked && nonce <= this.#pingNonce) settle(true);
    if (this.#pingSentAt === undefined || nonce !== this.#pingNonce) return;
    const now = this.#clock.monotonic();
    const ms = now - this.#pingSentAt;
    this.#pingSentAt = undefined;
    this.#roundTrip = { ms, at: now };
    this.#unacked.roundTrip(ms);
  }

  #ping(): void {
    this.#pingNonce++;
    this.#pingSentAt = undefined;
    this.#control.ping(this.#pingNonce, () => {
      this.#pingSentAt = this.#clock.monotonic();
    });
    this.#writer.pump();
  }

  /** For windows that could grow: gives what is known, and asks again where it is old. */
  #freshRoundTripMs(now: number): number | undefined {
    const stale = !this.#roundTrip || now - this.#roundTrip.at > roundTripFreshMs;
    if (stale && this.#pingSentAt === undefined) this.#ping();
    return this.#roundTrip?.ms;
  }

  #sendReset(id: number, error: RemoteError): void {
    if (this.#cause) return;
    const frame = encodeWithPayload(frameKind.reset, id, encodeError(error, this.#limits));
    if (this.#control.reset(frame)) this.#writer.pump();
    else this.end(broken('control_backlog', this.#limits.maxControlBacklog, 'the peer takes no RESET'));
  }

  #ownerOfChannels(): ChannelOwner {
    return {
      limits: this.#limits,
      growth: new GrowthPool(this.#limits.maxWindowGrowthBytes),
      now: () => this.#clock.monotonic(),
      roundTripMs: () => this.#freshRoundTripMs(this.#clock.monotonic()),
      ready: (outbox) => this.#writer.ready(outbox),
      giveCredit: (id, credit) => {
        this.#control.window(id, credit);
        this.#writer.pump();
      },
      sendReset: (id, error) => this.#sendReset(id, error),
      over: (channel) => this.#forget(channel),
    };
  }

  #forget(channel: ChannelLife): void {
    if (!this.#channels.delete(channel.id)) return;
    this.#control.forget(channel.id);
    if (this.#isOwn(channel.id)) this.#ownOpen--;
    else this.#peerOpen--;
  }

  #isOwn(id: number): boolean {
    return (id % 2 === 1) === (this.#side === 'controller');
  }

  /** The one way to the end. Timers stop first, then the transport goes, then everyone who waits is told. */
  #finish(cause: RemoteError, transport: 'goaway' | 'close' | 'destroy' | 'nothing'): void {
    if (this.#cause) return;
    this.#cause = cause;
    this.#watchdog.stop();
    const goaway = () => encodeWithPayload(frameKind.goaway, 0, encodeError(cause, this.#limits));
    this.#writer.stop(transport === 'goaway' ? goaway() : undefined);
    if (transport === 'destroy') this.#transport.destroy();
    else if (transport !== 'nothing') this.#transport.close(cause.kind.close ?? normalClosure, cause.code);
    for (const channel of [...this.#channels.values()]) channel.onOver(cause);
    this.#resolveClosed(cause);
  }
}

/** RFC 6455 §7.4.1: the purpose of the connection has been fulfilled. */
const normalClosure = 1000;

function lost(cause: unknown): RemoteError {
  if (cause instanceof RemoteError) return cause;
  const detail = cause instanceof Error ? `: ${cause.message}` : '';
  return new RemoteError('connection_reset', `connection reset by peer${detail}`, {}, cause);
}
