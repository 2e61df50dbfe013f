import { connect as connectNet, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { pino } from 'pino';
import type { DialTarget } from '../../../agent/src/connect/dial.ts';
import { DirectListener, type DirectListenerOptions } from '../../../controller/src/direct/listener.ts';
import { makeTlsKey, pinOf, type TlsKey } from '../../../controller/src/direct/self-signed.ts';
import type { Meeting } from './meeting.ts';

/** The port of a controller for the network on loopback, in front of the gateway of a meeting. */
export class DirectPort {
  readonly tls: TlsKey;
  readonly pin: string;
  readonly #listener: DirectListener;
  readonly #sockets = new Set<Socket>();
  /** URLs of plain requests that came through. */
  readonly requests: string[];

  private constructor(listener: DirectListener, requests: string[], tls: TlsKey) {
    this.#listener = listener;
    this.requests = requests;
    this.tls = tls;
    this.pin = pinOf(tls.certificate);
  }

  static async open(
    meeting: Meeting,
    options: Pick<DirectListenerOptions, 'clock'> & Partial<DirectListenerOptions>,
  ): Promise<DirectPort> {
    const requests: string[] = [];
    const tls = makeTlsKey(Date.now());
    const listener = await DirectListener.open({
      at: { host: '127.0.0.1', port: 0 },
      tls,
      log: pino({ level: 'silent' }),
      onUpgrade: (...upgrade) => meeting.gateway.upgrade(...upgrade),
      onRequest: (request, response) => {
        requests.push(request.url ?? '');
        response.writeHead(401, { connection: 'close' }).end();
      },
      ...options,
    });
    return new DirectPort(listener, requests, tls);
  }

  get port(): number {
    return this.#listener.address.port;
  }

  get listener(): DirectListener {
    return this.#listener;
  }

  target(more: Partial<Extract<DialTarget, { kind: 'wss' }>> = {}): DialTarget {
    return {
      kind: 'wss',
      url: `wss://127.0.0.1:${this.port}`,
      certificates: [this.tls.certificate],
      spki_sha256: [this.pin],
      ...more,
    };
  }

  /** A TLS client of any kind, once it is connected. */
  async client(options: ConnectionOptions & { localAddress?: string } = {}): Promise<TLSSocket> {
    const socket = connectTls({
      host: '127.0.0.1',
      port: this.port,
      ca: this.tls.certificate,
      checkServerIdentity: () => undefined,
      ...options,
    });
    this.#sockets.add(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve);
      socket.once('error', reject);
    });
    socket.on('error', () => undefined);
    return socket;
  }

  /** TCP alone. */
  async plain(): Promise<Socket> {
    const socket = connectNet(this.port, '127.0.0.1');
    this.#sockets.add(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    socket.on('error', () => undefined);
    return socket;
  }

  close(): void {
    this.#listener.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** All that comes until the other side has closed. */
export async function untilClosed(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (bytes) => {
    text += bytes.toString('latin1');
  });
  if (!socket.destroyed) await new Promise((resolve) => socket.once('close', resolve));
  return text;
}
