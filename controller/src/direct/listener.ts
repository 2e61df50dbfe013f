import { constants } from 'node:crypto';
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls';
import type { Logger } from '@codex-remote/platform';
import { type Clock, formatListen, type ListenAddress, RemoteError } from '@codex-remote/protocol/wire';
import { Admission, type AdmissionLimits, type Admitted, provenWithinMs } from '../gateway/admission.ts';
import type { DirectArrival } from '../gateway/gateway.ts';
import type { TlsKey } from './self-signed.ts';

/** Request line and headers, as on the private socket. */
const maxHeaderBytes = 128 * 1024;
/** The system asks a connection that has been quiet for so long whether its other side is there. */
const keepAliveMs = 10_000;

export interface DirectListenerOptions {
  readonly at: ListenAddress;
  readonly tls: TlsKey;
  readonly clock: Clock;
  readonly log: Logger;
  /** A WebSocket, still to be refused or greeted. Owns the socket. */
  readonly onUpgrade: (
    request: IncomingMessage,
    socket: TLSSocket,
    head: Buffer,
    arrival: DirectArrival,
  ) => void;
  /** A request of the HTTP API, of somebody that nobody has authenticated. */
  readonly onRequest: (request: IncomingMessage, response: ServerResponse) => void;
  readonly limits?: AdmissionLimits;
  /** True: nothing more is taken for now. */
  readonly full?: () => boolean;
}

/**
 * The one port of a controller for the network: TLS 1.3 and nothing else, agents' WebSockets and the HTTP API behind it.
 * Every connection is its own full handshake: no session is resumed, so the client sees and compares the key each time.
 * Whoever has not proven itself in time is destroyed (`proven` in admission.ts).
 */
export class DirectListener {
  readonly #tls: TlsServer;
  readonly #http: Server;
  readonly #sockets = new Set<Socket>();
  /** With the port that the system chose for 0. */
  #address: AddressInfo | undefined;
  /** By the peer's address and port: TLS does not say which TCP connection it is on. */
  readonly #admitted = new Map<string, Admitted>();

  /** Throws `listen_failed`. */
  static async open(options: DirectListenerOptions): Promise<DirectListener> {
    const listener = new DirectListener(options);
    await listener.#listen(options.at);
    return listener;
  }

  private constructor(options: DirectListenerOptions) {
    const { clock, log, tls } = options;
    const admission = new Admission(clock, options.limits);
    this.#http = createHttpServer({
      maxHeaderSize: maxHeaderBytes,
      headersTimeout: provenWithinMs,
      // An upload has no end that could be foreseen; its caller is known.
      requestTimeout: 0,
      connectionsCheckingInterval: provenWithinMs / 2,
      requireHostHeader: true,
    });
    // It never listens itself: without this Node ends no request whose headers drip in, of a caller that is known.
    this.#http.emit('listening');
    this.#http.on('request', options.onRequest);
    this.#http.on('upgrade', (request, socket: Duplex, head) => {
      const secure = socket as TLSSocket;
      options.onUpgrade(request, secure, head, { via: 'direct', address: secure.remoteAddress ?? 'gone' });
    });
    // An answer would tell a stranger what speaks here.
    this.#http.on('clientError', (_error, socket) => socket.destroy());
    this.#tls = createTlsServer({
      ...pair(tls),
      minVersion: 'TLSv1.3',
      maxVersion: 'TLSv1.3',
      secureOptions: constants.SSL_OP_NO_TICKET,
      handshakeTimeout: provenWithinMs,
      noDelay: true,
      // A follower that is gone without a word says nothing for hours.
      keepAlive: true,
      keepAliveInitialDelay: keepAliveMs,
    });
    this.#tls.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.once('close', () => this.#sockets.delete(socket));
      if (options.full?.()) socket.destroy();
      else this.#admit(socket, admission);
    });
    this.#tls.on('tlsClientError', (error, socket) => {
      log.debug({ err: error.message }, 'no TLS of ours');
      socket.destroy();
    });
    this.#tls.on('secureConnection', (socket) => this.#secured(socket));
  }

  /** Where it listens, or did. */
  get address(): AddressInfo {
    if (!this.#address) throw new RemoteError('internal', 'not listening yet');
    return this.#address;
  }

  /** New connections meet this key. */
  serve(tls: TlsKey): void {
    this.#tls.setSecureContext({
      ...pair(tls),
      minVersion: 'TLSv1.3',
      maxVersion: 'TLSv1.3',
      secureOptions: constants.SSL_OP_NO_TICKET,
    });
  }

  /** Connections of another listener are this one's from here on. */
  inherit(other: DirectListener): void {
    for (const socket of other.#sockets) {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    }
  }

  /** Takes nothing more; what is open stays. */
  stop(): void {
    this.#tls.close();
    this.#http.close();
  }

  /** Takes nothing more and ends what is open. */
  close(): void {
    this.stop();
    for (const socket of this.#sockets) socket.destroy();
  }

  #admit(socket: Socket, admission: Admission): void {
    const admitted = admission.admit(socket, socket.remoteAddress ?? '');
    const peer = peerOf(socket);
    if (!admitted) return;
    this.#admitted.set(peer, admitted);
    socket.once('close', () => this.#admitted.delete(peer));
  }

  #secured(socket: TLSSocket): void {
    socket.on('error', () => socket.destroy());
    const admitted = this.#admitted.get(peerOf(socket));
    if (!admitted || socket.isSessionReused()) {
      socket.destroy();
      return;
    }
    admitted.carries(socket);
    this.#http.emit('connection', socket);
  }

  #listen({ host, port }: ListenAddress): Promise<void> {
    return new Promise((resolve, reject) => {
      const failed = (error: NodeJS.ErrnoException): void => reject(notListening({ host, port }, error));
      this.#tls.once('error', failed);
      this.#tls.listen({ host, port }, () => {
        this.#tls.off('error', failed);
        this.#address = this.#tls.address() as AddressInfo;
        // A connection that cannot be taken, for want of descriptors, is its caller's loss alone.
        this.#tls.on('error', () => undefined);
        resolve();
      });
    });
  }
}

function peerOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

function pair({ key, certificate }: TlsKey): { key: string; cert: string } {
  return { key, cert: certificate };
}

function notListening(at: ListenAddress, error: NodeJS.ErrnoException): RemoteError {
  const where = formatListen(at);
  const [reason, why, hint] = reasons(at.port)[error.code ?? ''] ?? [
    'other',
    error.message,
    'choose another address: codex-remote controller start --listen HOST:PORT',
  ];
  return new RemoteError(
    'listen_failed',
    `the controller cannot listen on ${where}: ${why}`,
    { hint, facts: { reason, listen: where } },
    error,
  );
}

type Reason = readonly [reason: string, why: string, hint: string];

function reasons(port: number): Readonly<Record<string, Reason>> {
  const notOurs: Reason = [
    'not_ours',
    'this host has no such address',
    '`ip addr` names those it has; 0.0.0.0 or [::] is all of them',
  ];
  return {
    EADDRINUSE: [
      'in_use',
      'another process listens there',
      `\`ss -ltnp 'sport = :${port}'\` names it; or choose another port`,
    ],
    EACCES: [
      'denied',
      port < 1024 ? `the system keeps port ${port} for root` : 'the system does not allow it',
      'choose a port from 1024 on, and let a firewall or router forward to it where it must look like another',
    ],
    EADDRNOTAVAIL: notOurs,
    ENOTFOUND: notOurs,
    EAI_AGAIN: notOurs,
  };
}
