import { Backoff, type Logger } from '@codex-remote/platform';
import type { DirectChange, DirectStatus } from '@codex-remote/protocol/schema';
import { type Clock, formatListen, parseListen, RemoteError, type Timer } from '@codex-remote/protocol/wire';
import { Certificates, type Trust } from './certificate.ts';
import { DirectListener, type DirectListenerOptions } from './listener.ts';
import { expiryOf, pinOf } from './self-signed.ts';
import { changedSettings, type DirectSettings, DirectSettingsFile, hostNames } from './settings.ts';

/** By what others find this controller and know it. */
export interface PublicAddress extends Trust {
  /** `https://HOST[:PORT]` */
  readonly url: string;
  /** All certificates, one behind the other. */
  readonly certificate: string;
}

export interface DirectOptions
  extends Pick<DirectListenerOptions, 'onUpgrade' | 'onRequest' | 'full' | 'limits'> {
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** Files in the config folder. */
  readonly settings: string;
  readonly certificate: string;
  /** Tells every connected agent what to trust; resolves when those that can have noted it. */
  readonly announce: (trust: Trust) => Promise<void>;
  /** A rotated key has begun to serve. */
  readonly switched?: (pin: string) => void;
}

/** A port that is taken is tried again, soon and then at least so often. */
const firstRetryMs = 1_000;
const maxRetryMs = 30_000;
/** A controller that starts so long before its certificate is over rotates it, with this overlap. */
const renewBeforeMs = 90 * 24 * 60 * 60 * 1000;
const renewOverlapMs = 60 * 24 * 60 * 60 * 1000;
/** Longest wait of a timer for the switch: the clock may be set meanwhile. */
const switchLookMs = 60_000;

/**
 * The controller as it is reached over the network: whether it listens, where, with which key. Off until somebody says
 * otherwise. Where it cannot listen the controller runs all the same, says why, and tries again.
 */
export class Direct {
  readonly #options: DirectOptions;
  readonly #file: DirectSettingsFile;
  readonly #closed = new AbortController();
  readonly #backoff: Backoff;
  #settings: DirectSettings = {};
  #certificates: Certificates | undefined;
  #listener: DirectListener | undefined;
  /** Why it does not listen, though it should. */
  #error: RemoteError | undefined;
  /** Changes take turns. */
  #turn: Promise<unknown> = Promise.resolve();
  #switching: Timer | undefined;

  constructor(options: DirectOptions) {
    const { clock, random } = options;
    this.#options = options;
    this.#file = new DirectSettingsFile(options.settings);
    this.#backoff = new Backoff({ clock, random, firstMs: firstRetryMs, maxMs: maxRetryMs });
  }

  /** Listens where the settings say so. What stands in its way is in `status`. */
  async open(): Promise<void> {
    await this.#inTurn(async () => {
      try {
        this.#settings = this.#file.read();
        if (this.#settings.listen !== undefined) await this.#listen(this.#settings.listen);
      } catch (error) {
        this.#failed(error);
      }
    });
    if (this.#error && this.#settings.listen !== undefined) void this.#retry();
  }

  /** Durable, and in force, when it resolves; else all is as it was. Throws `usage`, `listen_failed`. */
  async configure(change: DirectChange): Promise<void> {
    await this.#inTurn(async () => {
      const before = this.#settings;
      const wanted = changedSettings(before, change);
      if (wanted.listen === undefined) {
        await this.#file.write(wanted);
        this.#settings = wanted;
        this.#error = undefined;
        this.#listener?.close();
        this.#listener = undefined;
        return;
      }
      const moved = wanted.listen !== before.listen || !this.#listener;
      const old = this.#listener;
      // The new address may be of the same port: that has to be free.
      if (moved) old?.stop();
      try {
        if (moved) await this.#listen(wanted.listen);
        await this.#file.write(wanted);
      } catch (error) {
        if (moved) await this.#goBack(before, old);
        throw error;
      }
      this.#settings = wanted;
    });
  }

  /**
   * Makes the next key and announces it; it serves after `overlapMs`. With 0 it serves when those that are connected know
   * it. Throws `usage` where there is no key to be followed.
   */
  async rotate(overlapMs: number): Promise<void> {
    await this.#inTurn(async () => {
      const { clock, announce } = this.#options;
      const certificates = this.#certificates;
      if (!certificates)
        throw new RemoteError('usage', 'there is no certificate yet: the controller listens nowhere', {
          hint: 'it is made by codex-remote controller start --listen HOST:PORT',
          sent: 'no',
        });
      const now = clock.wall();
      certificates.rotate(now, now + Math.max(overlapMs, overlapMs === 0 ? switchLookMs : 0));
      await announce(certificates.trust);
      if (overlapMs === 0) {
        certificates.rotate(now, clock.wall());
        await this.#switch();
      }
      this.#awaitSwitch();
    });
  }

  /** What agents are to know this controller by; undefined where it never listened. */
  get trust(): Trust | undefined {
    return this.#certificates?.trust;
  }

  /** Where others reach this controller; undefined where they cannot, as far as it knows. */
  address(): PublicAddress | undefined {
    return this.#listener ? this.configured() : undefined;
  }

  /** As `address`, also while the port is not to be had. */
  configured(): PublicAddress | undefined {
    const { listen, public_url } = this.#settings;
    const { trust } = this;
    if (listen === undefined || public_url === undefined || !trust) return undefined;
    return { url: public_url, ...trust, certificate: trust.certificates.join('') };
  }

  /** Host names, without a port, under which a request may ask for us. */
  hosts(): readonly string[] {
    return hostNames(this.#settings);
  }

  status(): DirectStatus {
    const { listen, public_url } = this.#settings;
    const { next } = this.#certificates ?? {};
    const current = this.#certificates?.current.certificate;
    return {
      ...(listen !== undefined && { listen: this.#listener ? listensAt(this.#listener, listen) : listen }),
      ...(public_url !== undefined && { public_url }),
      ...(this.#error && { listen_error: this.#error.toWire() }),
      ...(current !== undefined && {
        certificate_sha256: pinOf(current),
        certificate_expires_at: iso(expiryOf(current)),
      }),
      ...(next && {
        next_certificate_sha256: pinOf(next.certificate),
        next_certificate_from: iso(next.fromMs),
      }),
    };
  }

  /** Takes nothing more; what is open stays. */
  stop(): void {
    this.#closed.abort();
    this.#switching?.cancel();
    this.#listener?.stop();
  }

  /** Ends what is open. */
  close(): void {
    this.stop();
    this.#listener?.close();
  }

  async #listen(listen: string): Promise<void> {
    const { clock, certificate, log } = this.#options;
    this.#certificates ??= Certificates.open(certificate, clock.wall());
    await this.#switch();
    this.#renew();
    this.#awaitSwitch();
    const tls = this.#certificates.current;
    const before = this.#listener;
    this.#listener = await DirectListener.open({ ...this.#options, at: parseListen(listen), tls });
    // Agents that came to the address before stay until they leave.
    if (before) this.#listener.inherit(before);
    this.#error = undefined;
    this.#backoff.reset();
    log.info({ listen: listensAt(this.#listener, listen), pin: pinOf(tls.certificate) }, 'listening');
  }

  async #goBack({ listen }: DirectSettings, old: DirectListener | undefined): Promise<void> {
    if (this.#listener !== old) this.#listener?.stop();
    if (listen === undefined) {
      this.#listener?.close();
      this.#listener = undefined;
      return;
    }
    await this.#listen(listen).catch((error: unknown) => {
      this.#failed(error);
      void this.#retry();
    });
  }

  #failed(error: unknown): void {
    this.#error = RemoteError.from(error);
    this.#listener = undefined;
    const { code, message } = this.#error;
    this.#options.log.warn({ code, err: message }, 'not listening');
  }

  /** Until it listens, or nobody wants it to. */
  async #retry(): Promise<void> {
    while (!this.#closed.signal.aborted) {
      await this.#backoff.wait(this.#closed.signal);
      const done = await this.#inTurn(async () => {
        const { listen } = this.#settings;
        if (this.#closed.signal.aborted || listen === undefined || this.#listener) return true;
        return this.#listen(listen).then(
          () => true,
          (error: unknown) => {
            this.#failed(error);
            return false;
          },
        );
      });
      if (done) return;
    }
  }

  /** Agents are told of it when they connect. */
  #renew(): void {
    const certificates = this.#certificates;
    const now = this.#options.clock.wall();
    if (!certificates || certificates.next) return;
    if (expiryOf(certificates.current.certificate) - now < renewBeforeMs)
      certificates.rotate(now, now + renewOverlapMs);
  }

  async #switch(): Promise<void> {
    const { clock, log, announce, switched } = this.#options;
    const certificates = this.#certificates;
    if (!certificates?.switchWhenDue(clock.wall())) return;
    const pin = pinOf(certificates.current.certificate);
    this.#listener?.serve(certificates.current);
    log.info({ pin }, 'the rotated certificate serves');
    switched?.(pin);
    await announce(certificates.trust);
  }

  #awaitSwitch(): void {
    const { clock, log } = this.#options;
    this.#switching?.cancel();
    const next = this.#certificates?.next;
    if (!next || this.#closed.signal.aborted) return;
    const leftMs = Math.max(0, next.fromMs - clock.wall());
    this.#switching = clock.setTimer(Math.min(leftMs, switchLookMs), () => {
      this.#inTurn(() => this.#switch())
        .catch((error: unknown) => log.error({ err: RemoteError.from(error).message }, 'rotation'))
        .finally(() => this.#awaitSwitch());
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }
}

/** With the port that the system chose. */
function listensAt(listener: DirectListener, listen: string): string {
  const { host, port } = parseListen(listen);
  return formatListen({ host, port: port === 0 ? listener.address.port : port });
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
