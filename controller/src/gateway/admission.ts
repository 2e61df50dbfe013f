import type { Duplex } from 'node:stream';
import { type Clock, defaultWireLimits, type Timer } from '@codex-remote/protocol/wire';

/** From the connection to the proof of who is there; what has not proven itself then is destroyed. */
export const provenWithinMs = defaultWireLimits.handshakeMs;
/** Connections that have not proven themselves, at once. One address cannot take the places of all others. */
export const maxUnproven = 256;
export const maxUnprovenPerAddress = 32;

export interface AdmissionLimits {
  readonly maxUnproven: number;
  readonly maxUnprovenPerAddress: number;
}

/** Connections of the network by whatever carries them: the TCP socket, and the TLS on it. */
const admissions = new WeakMap<object, Admitted>();

/**
 * For whoever has authenticated what came over this connection: its deadline is over, and its place is free for another.
 * Without effect for connections that are not of the network, and when said twice.
 */
export function proven(socket: Duplex): void {
  admissions.get(socket)?.proven();
}

/** A connection that has a place. */
export class Admitted {
  readonly #release: () => void;
  readonly #deadline: Timer;

  constructor(deadline: Timer, release: () => void) {
    this.#deadline = deadline;
    this.#release = release;
  }

  /** `socket` is this connection too. */
  carries(socket: Duplex): void {
    admissions.set(socket, this);
  }

  proven(): void {
    this.#deadline.cancel();
    this.#release();
  }
}

/** The places for connections that nobody knows yet. */
export class Admission {
  readonly #clock: Clock;
  readonly #limits: AdmissionLimits;
  readonly #byAddress = new Map<string, number>();
  #all = 0;

  constructor(clock: Clock, limits: AdmissionLimits = { maxUnproven, maxUnprovenPerAddress }) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /** How many have a place and are not proven. */
  get unproven(): number {
    return this.#all;
  }

  /** A place for a connection from `address`, until it is proven or closed. Undefined: there is none, and it was destroyed. */
  admit(socket: Duplex, address: string): Admitted | undefined {
    const origin = originOf(address);
    const before = this.#byAddress.get(origin) ?? 0;
    if (this.#all >= this.#limits.maxUnproven || before >= this.#limits.maxUnprovenPerAddress) {
      socket.destroy();
      return undefined;
    }
    this.#all += 1;
    this.#byAddress.set(origin, before + 1);
    let held = true;
    const release = (): void => {
      if (!held) return;
      held = false;
      this.#all -= 1;
      const left = (this.#byAddress.get(origin) ?? 1) - 1;
      if (left > 0) this.#byAddress.set(origin, left);
      else this.#byAddress.delete(origin);
    };
    const admitted = new Admitted(
      this.#clock.setTimer(provenWithinMs, () => socket.destroy()),
      release,
    );
    socket.once('close', () => admitted.proven());
    admitted.carries(socket);
    return admitted;
  }
}

/** What one peer can have many of counts as one: of IPv6 the network of 64 bits. IPv4 in IPv6 is IPv4. */
export function originOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!address.includes(':')) return address;
  const [head = '', tail] = address.replace(/%.*$/, '').split('::');
  const first = head === '' ? [] : head.split(':');
  const last = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - first.length - last.length);
  const groups = [...first, ...Array.from({ length: zeros }, () => '0'), ...last];
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}
