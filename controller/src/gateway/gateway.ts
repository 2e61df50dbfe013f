import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import {
  type Identity,
  type Logger,
  WsTransport,
  webSocketLimits,
  webSocketProtocol,
} from '@codex-remote/platform';
import {
  exporterLabel,
  type Hello,
  type TransportKind,
  type VersionRange,
} from '@codex-remote/protocol/schema';
import { type Clock, defaultWireLimits, RemoteError, Session } from '@codex-remote/protocol/wire';
import { WebSocketServer } from 'ws';
import { proven } from './admission.ts';
import { greetAgent, type ProtocolFloors } from './handshake.ts';

export interface GatewayOptions {
  readonly identity: Identity;
  readonly clock: Clock;
  readonly log: Logger;
  readonly keyOf: (machine: string) => string | undefined;
  /** What a join token in a proof is worth; absent = nothing. See `HandshakeOptions.claim`. */
  readonly claim?: (hello: Hello, token: string, arrival: Arrival) => Promise<{ consume(): Promise<void> }>;
  /** Throws to refuse a proven agent. */
  readonly admit: (hello: Hello, arrival: Arrival) => void | Promise<void>;
  readonly floors?: ProtocolFloors;
  /** What we speak; another range is a test's. */
  readonly versions?: VersionRange;
  /** An agent that came and was not let in; `claimed` is what it said of itself, where it did. */
  readonly refused?: (cause: RemoteError, arrival: Arrival, claimed?: Hello) => void;
  /** Takes over a proven connection. */
  readonly connected: (session: Session, hello: Hello, arrival: Arrival) => void;
}

/** How a connection reached us. */
export type Arrival = PrivateArrival | DirectArrival;

/** By a way that leads to one machine: nobody else may speak there. */
export interface PrivateArrival {
  readonly via: 'local' | 'tunnel' | 'bridge';
  readonly machine: string;
}

/** Over TLS from the network: any machine, by its key. */
export interface DirectArrival {
  readonly via: 'direct';
  /** Of the other side, as our system sees it. */
  readonly address: string;
}

/** For log and audit: the address of a direct connection, else the way. */
export function sourceOf(arrival: Arrival): string {
  return arrival.via === 'direct' ? arrival.address : arrival.via;
}

/**
 * Takes the agents' WebSockets. Its HTTP server knows one path and no other verb: a tunnel gives its far end nothing of
 * the API. Every socket handed in is destroyed unless it becomes a session.
 */
export class Gateway {
  readonly #options: GatewayOptions;
  readonly #arrivals = new WeakMap<
    Duplex,
    { readonly arrival: PrivateArrival; readonly heard: () => void }
  >();
  readonly #http: Server;
  readonly #upgrades = new WebSocketServer({
    noServer: true,
    ...webSocketLimits,
    clientTracking: false,
    handleProtocols: (offered) => (offered.has(webSocketProtocol) ? webSocketProtocol : false),
  });
  readonly #sessions = new Set<Session>();
  /** Connections on private ways that have not asked for anything yet. */
  #waiting = 0;
  /** Strangers on the network take no places of those that came through a tunnel. */
  readonly #handshakes = { private: 0, direct: 0 };

  constructor(options: GatewayOptions) {
    this.#options = options;
    this.#http = createServer({
      maxHeaderSize: 4096,
    });
    this.#http.on('request', (_request, response) => {
      response.writeHead(404, { connection: 'close' }).end();
    });
    this.#http.on('upgrade', (request, socket, head) => {
      const arrived = this.#arrivals.get(socket);
      arrived?.heard();
      if (arrived) this.upgrade(request, socket, head, arrived.arrival);
      else socket.destroy();
    });
    this.#http.on('clientError', (_error, socket) => socket.destroy());
  }

  /** Takes a socket that reached us; the gateway owns it from here. */
  accept(socket: Duplex, arrival: PrivateArrival): void {
    socket.on('error', () => socket.destroy());
    if (this.#waiting >= defaultWireLimits.maxHandshakes) {
      socket.destroy();
      return;
    }
    // Node's own limits in time are for servers that listen themselves.
    const deadline = this.#options.clock.setTimer(defaultWireLimits.handshakeMs, () => socket.destroy());
    this.#waiting += 1;
    let waits = true;
    const heard = (): void => {
      if (waits) this.#waiting -= 1;
      waits = false;
      deadline.cancel();
    };
    socket.once('close', heard);
    this.#arrivals.set(socket, { arrival, heard });
    this.#http.emit('connection', socket);
  }

  close(): void {
    this.#http.close();
    for (const session of this.#sessions)
      session.end(new RemoteError('shutting_down', 'the controller is stopping'));
  }

  /** Takes an upgrade that came to a server of others; the gateway owns the socket from here. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, arrival: Arrival): void {
    const refuse = (status: string): void => {
      socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\n\r\n`, () => socket.destroy());
    };
    if (request.url !== '/v1/agent') return refuse('404 Not Found');
    if (request.headers.origin !== undefined) return refuse('403 Forbidden');
    if (!request.headers['sec-websocket-protocol']?.split(/, */).includes(webSocketProtocol))
      return refuse('400 Bad Request');
    const way = arrival.via === 'direct' ? 'direct' : 'private';
    if (this.#handshakes[way] >= defaultWireLimits.maxHandshakes) return refuse('503 Service Unavailable');
    this.#handshakes[way] += 1;
    let open = true;
    // Called when the handshake is over, or when ws itself refused and destroyed the socket: whichever is first.
    const release = (): void => {
      if (open) this.#handshakes[way] -= 1;
      open = false;
    };
    socket.once('close', release);
    this.#upgrades.handleUpgrade(request, socket, head, (ws) => {
      void this.#greet(new WsTransport(ws, socket), socket, arrival).finally(release);
    });
  }

  async #greet(transport: WsTransport, socket: Duplex, arrival: Arrival): Promise<void> {
    const { identity, clock, log, keyOf, claim, admit, versions, floors, refused, connected } = this.#options;
    // What is not direct arrives over a Unix socket, also through a tunnel: the agent dials the socket there.
    const direct = arrival.via === 'direct';
    const transportKind: TransportKind = direct ? 'wss' : 'unix';
    const where = direct ? { address: arrival.address } : { machine: arrival.machine };
    let claimed: Hello | undefined;
    try {
      const hello = await greetAgent(transport, {
        heard: (agent) => {
          claimed = agent;
        },
        identity,
        clock,
        transportKind,
        exporter: direct ? exporterOf(socket) : new Uint8Array(0),
        ...(versions === undefined ? {} : { versions }),
        ...(floors === undefined ? {} : { floors }),
        keyOf: (machine) => (direct || machine === arrival.machine ? keyOf(machine) : undefined),
        ...(claim && { claim: (agent: Hello, token: string) => claim(agent, token, arrival) }),
        admit: (agent) => admit(agent, arrival),
      });
      proven(socket);
      const session = new Session({ transport, side: 'controller', clock });
      this.#sessions.add(session);
      void session.closed.then(() => this.#sessions.delete(session));
      connected(session, hello, arrival);
    } catch (error) {
      const cause = RemoteError.from(error);
      log.warn({ ...where, via: arrival.via, code: cause.code, err: cause.message }, 'agent refused');
      refused?.(cause, arrival, claimed);
    }
  }
}

/** What the agent's signature covers, so that it holds for this TLS connection alone. Throws where there is none. */
function exporterOf(socket: Duplex): Uint8Array {
  if (!(socket instanceof TLSSocket)) throw new RemoteError('internal', 'a direct connection without TLS');
  return socket.exportKeyingMaterial(32, exporterLabel, Buffer.alloc(0));
}
