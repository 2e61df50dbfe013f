import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** A TCP proxy on loopback that can go silent or break: the network's faults, without its kernel. */
export class TcpProxy {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #silent = false;

  private constructor(target: number) {
    this.#server = createServer((near) => {
      const far = connect(target, '127.0.0.1');
      const pair = [near, far] as const;
      this.#pairs.add(pair);
      for (const socket of pair) {
        socket.setNoDelay(true);
        socket.on('error', () => undefined);
        socket.on('close', () => {
          this.#pairs.delete(pair);
          near.destroy();
          far.destroy();
        });
      }
      this.#couple(near, far);
      this.#couple(far, near);
      if (this.#silent) for (const socket of pair) socket.pause();
    });
  }

  static async open(target: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Nothing passes any more in either direction, and nobody is told: half-open connections. */
  blackhole(): void {
    this.#silent = true;
    for (const pair of this.#pairs) for (const socket of pair) socket.pause();
  }

  /** Connections made from now on work; those that were silenced stay so. */
  heal(): void {
    this.#silent = false;
  }

  /** Every connection is cut with a RST. */
  reset(): void {
    for (const pair of [...this.#pairs]) for (const socket of pair) socket.resetAndDestroy();
  }

  async close(): Promise<void> {
    for (const pair of [...this.#pairs]) for (const socket of pair) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #couple(from: Socket, to: Socket): void {
    from.on('data', (bytes) => {
      if (this.#silent) return;
      if (!to.write(bytes)) {
        from.pause();
        to.once('drain', () => {
          if (!this.#silent) from.resume();
        });
      }
    });
    from.on('end', () => {
      if (!this.#silent) to.end();
    });
  }
}
