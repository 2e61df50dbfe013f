import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';

export interface ConnectProxyOptions {
  /** Where it listens; loopback when absent. */
  readonly host?: string;
  /** `user:password` that it asks for. */
  readonly credentials?: string;
  /** Ports on loopback by `host:port` as clients name them: a proxy knows names that its clients do not. */
  readonly routes: Readonly<Record<string, number>>;
}

/** An HTTP proxy that does CONNECT alone, to the places that it is given. */
export class ConnectProxy {
  /** `host:port` of every CONNECT, refused ones too. */
  readonly asked: string[] = [];
  readonly port: number;
  /** All bytes that clients sent through it. */
  carried = Buffer.alloc(0);
  readonly #close: () => Promise<void>;

  static async open(options: ConnectProxyOptions): Promise<ConnectProxy> {
    const server = createServer((_request, response) => response.writeHead(405).end());
    server.listen(0, options.host ?? '127.0.0.1');
    await once(server, 'listening');
    const sockets = new Set<Duplex>();
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => sockets.delete(socket));
    });
    const proxy = new ConnectProxy((server.address() as AddressInfo).port, async () => {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    });
    server.on('connect', (request: IncomingMessage, socket: Duplex, head: Buffer) =>
      proxy.#connect(options, request, socket, head),
    );
    return proxy;
  }

  private constructor(port: number, close: () => Promise<void>) {
    this.port = port;
    this.#close = close;
  }

  close(): Promise<void> {
    return this.#close();
  }

  #connect(
    { credentials, routes }: ConnectProxyOptions,
    request: IncomingMessage,
    near: Duplex,
    head: Buffer,
  ): void {
    const place = request.url ?? '';
    this.asked.push(place);
    near.on('error', () => near.destroy());
    const wanted = credentials && `Basic ${Buffer.from(credentials).toString('base64')}`;
    if (wanted !== undefined && request.headers['proxy-authorization'] !== wanted)
      return void near.end('HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n');
    const port = routes[place];
    if (port === undefined) return void near.end('HTTP/1.1 403 Forbidden\r\n\r\n');
    const far = connect(port, '127.0.0.1', () => {
      near.write('HTTP/1.1 200 Connection established\r\n\r\n');
      far.write(head);
      near.on('data', (chunk: Buffer) => {
        this.carried = Buffer.concat([this.carried, chunk]);
      });
      near.pipe(far).pipe(near);
    });
    far.on('error', () => near.destroy());
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
  }
}
