import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { type Cut, type Direction, directions, ProxiedStream, type StreamFaults } from './proxied-stream.ts';

export type { Cut, Direction } from './proxied-stream.ts';

/** A port of loopback, or the path of a Unix socket. */
export type Place = number | string;

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
  readonly streams: Readonly<Record<Direction, ProxiedStream>>;
  /** Nothing passes any more in one direction at least: neither side is told of the other's end. */
  silenced: boolean;
}

/**
 * A TCP proxy on loopback that can go silent, break, split, delay, throttle and corrupt: the network's faults, without its
 * kernel. Between Unix sockets it does the same, where a RST is a close.
 */
export class TcpProxy {
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  readonly #faults: Record<Direction, StreamFaults> = { up: {}, down: {} };
  readonly #silent = new Set<Direction>();
  #accepted = 0;

  private constructor(target: Place) {
    // An end of one side is passed on as such; the other may still speak.
    this.#server = createServer({ allowHalfOpen: true }, (near) => this.#accept(near, target));
  }

  /** Up is from whoever connects to the target, down the other way. `listen`: a Unix socket in place of a free port. */
  static async open(target: Place, listen: Place = 0): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    if (typeof listen === 'string') proxy.#server.listen(listen);
    else proxy.#server.listen(listen, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Connections that were made so far. */
  get accepted(): number {
    return this.#accepted;
  }

  get open(): number {
    return this.#pairs.size;
  }

  /** Nothing passes any more, in both directions or one, and nobody is told: half-open connections. */
  blackhole(...which: Direction[]): void {
    for (const direction of which.length > 0 ? which : directions) {
      this.#silent.add(direction);
      for (const pair of this.#pairs) silence(pair, direction);
    }
  }

  /** Connections made from now on work; those that were silenced stay so. */
  heal(): void {
    this.#silent.clear();
  }

  /** Every connection is cut with a RST. */
  reset(): void {
    for (const pair of [...this.#pairs]) breakOff(pair);
  }

  /**
   * Cuts once, with a RST or a FIN, where `where` says so: it sees the bytes of `direction` as they come and gives the
   * index of the first one that must not pass. What came before it has been delivered.
   */
  cutWhere(direction: Direction, how: Cut, where: (bytes: Buffer) => number | undefined): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#faults[direction].cut = {
      where,
      run: (stream) => {
        delete this.#faults[direction].cut;
        const pair = [...this.#pairs].find(({ streams }) => streams[direction] === stream);
        if (pair && how === 'rst') breakOff(pair);
        else if (pair) for (const socket of [pair.near, pair.far]) socket.end();
        resolve();
      },
    };
    return promise;
  }

  /** Cuts once `bytes` more have passed in `direction`. */
  cutAfter(direction: Direction, bytes: number, how: Cut = 'rst'): Promise<void> {
    let left = bytes;
    return this.cutWhere(direction, how, (chunk) => {
      if (chunk.byteLength > left) return left;
      left -= chunk.byteLength;
      return undefined;
    });
  }

  /** Until it is called again: pieces of `bytes`, each `delayMs` late, at most `bytesPerSecond`. Nothing: as it comes. */
  shape(
    direction: Direction,
    shape: { bytes?: number; delayMs?: number; bytesPerSecond?: number } = {},
  ): void {
    const { cut, corrupt } = this.#faults[direction];
    this.#faults[direction] = { ...(cut && { cut }), ...(corrupt && { corrupt }), ...shape };
    for (const { streams } of this.#pairs) streams[direction].faults = this.#faults[direction];
  }

  /** Once: turns the bits of the byte that comes after `bytes` more. */
  corruptAfter(direction: Direction, bytes: number): void {
    this.#faults[direction].corrupt = { left: bytes };
  }

  async close(): Promise<void> {
    for (const { near, far } of [...this.#pairs]) for (const socket of [near, far]) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #accept(near: Socket, target: Place): void {
    this.#accepted += 1;
    const far =
      typeof target === 'string'
        ? connect({ path: target, allowHalfOpen: true })
        : connect({ port: target, host: '127.0.0.1', allowHalfOpen: true });
    const pair: Pair = {
      near,
      far,
      streams: {
        up: new ProxiedStream(near, far, this.#faults.up),
        down: new ProxiedStream(far, near, this.#faults.down),
      },
      silenced: false,
    };
    this.#pairs.add(pair);
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      socket.setNoDelay(true);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        if (!pair.silenced) other.destroy();
        if (other.destroyed) this.#pairs.delete(pair);
      });
    }
    for (const direction of this.#silent) silence(pair, direction);
  }
}

function silence(pair: Pair, direction: Direction): void {
  pair.silenced = true;
  pair.streams[direction].silence();
}

/** With a RST where there is one: a Unix socket just closes. */
function breakOff({ near, far }: Pair): void {
  for (const socket of [near, far])
    if (socket.remoteAddress === undefined) socket.destroy();
    else socket.resetAndDestroy();
}
