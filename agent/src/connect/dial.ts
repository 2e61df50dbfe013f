import { createHash } from 'node:crypto';
import { connect as connectNet } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { WsTransport, webSocketLimits, webSocketProtocol, zeroMask } from '@codex-remote/platform';
import { type AgentEndpoint, exporterLabel, type TransportKind } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { WebSocket } from 'ws';
import { connectThrough } from './proxy.ts';

/** One place to dial: an endpoint with its tunnel sockets spelled out. */
export type DialTarget =
  | { kind: 'unix'; path: string }
  | { kind: 'ws'; url: string }
  | Extract<AgentEndpoint, { kind: 'wss' }>;

export interface Dialled {
  readonly transport: WsTransport;
  readonly kind: TransportKind;
  /** TLS exporter (RFC 8446 §7.5) that binds the handshake to this connection; empty without TLS. */
  readonly exporter: Uint8Array;
}

/**
 * Opens a WebSocket; `signal` gives up, and is the only limit in time. The caller owns the transport from then on.
 * Redirects are not followed, other answers than 101 destroy the socket. Throws `connection_reset`,
 * `proxy_failed`, or `certificate_mismatch`.
 */
export async function dial(target: DialTarget, signal: AbortSignal): Promise<Dialled> {
  switch (target.kind) {
    case 'unix':
      return {
        ...(await upgrade(() => connectNet({ path: target.path }), true, signal)),
        kind: 'unix',
        exporter: new Uint8Array(0),
      };
    case 'ws': {
      const url = new URL(target.url);
      requireLoopback(url);
      const open = () => connectNet({ host: bareHost(url), port: Number(url.port || 80), noDelay: true });
      return { ...(await upgrade(open, false, signal)), kind: 'ws', exporter: new Uint8Array(0) };
    }
    case 'wss': {
      const socket = await openPinned(target, signal);
      const exporter = socket.exportKeyingMaterial(32, exporterLabel, Buffer.alloc(0));
      return { ...(await upgrade(() => socket, true, signal)), kind: 'wss', exporter };
    }
  }
}

function upgrade(
  open: () => Duplex,
  trustedLink: boolean,
  signal: AbortSignal,
): Promise<{ transport: WsTransport }> {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket('ws://controller/v1/agent', webSocketProtocol, {
      ...webSocketLimits,
      createConnection: open,
      followRedirects: false,
      ...(trustedLink ? { generateMask: zeroMask } : {}),
    });
    let transport: WsTransport | undefined;
    const abort = (): void => ws.terminate();
    const settle = (): void => {
      signal.removeEventListener('abort', abort);
      ws.off('error', onError);
    };
    const onError = (error: Error): void => {
      settle();
      reject(
        new RemoteError(
          'connection_reset',
          `the controller could not be dialled: ${error.message}`,
          {},
          error,
        ),
      );
    };
    ws.on('error', onError);
    // The transport listens before the first frame can arrive: ws emits 'upgrade' ahead of it.
    ws.once('upgrade', (response) => {
      transport = new WsTransport(ws, response.socket);
    });
    ws.once('open', () => {
      settle();
      if (transport) resolve({ transport });
      else reject(new RemoteError('internal', 'ws opened without an upgrade'));
    });
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort);
  });
}

/**
 * TLS 1.3 to a controller whose certificate we were given. The pin is compared after `secureConnect` and before any byte
 * of ours: Node skips `checkServerIdentity` on resumed sessions, so no session is ever resumed either.
 */
async function openPinned(
  target: Extract<AgentEndpoint, { kind: 'wss' }>,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const url = new URL(target.url);
  const place = { host: bareHost(url), port: Number(url.port || 443) };
  // A proxy carries TLS that it cannot read, to the key that we compare.
  const way = target.proxy === undefined ? undefined : await connectThrough(target.proxy, place, signal);
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      ...place,
      ...(way && { socket: way }),
      ca: target.certificates,
      minVersion: 'TLSv1.3',
      session: undefined,
      // The name in the URL may be any address of the controller; the key is what identifies it.
      checkServerIdentity: () => undefined,
    });
    socket.setNoDelay(true);
    const abort = (): void => {
      socket.destroy(new Error('aborted'));
    };
    signal.addEventListener('abort', abort);
    const fail = (error: RemoteError): void => {
      signal.removeEventListener('abort', abort);
      socket.destroy();
      reject(error);
    };
    socket.once('error', (error: NodeJS.ErrnoException) =>
      fail(
        untrusted.has(error.code ?? '')
          ? mismatch(url, error)
          : new RemoteError(
              'connection_reset',
              `the controller could not be dialled: ${error.message}`,
              {},
              error,
            ),
      ),
    );
    socket.once('secureConnect', () => {
      const key = socket.getPeerX509Certificate()?.publicKey.export({ type: 'spki', format: 'der' });
      const pin = key && createHash('sha256').update(key).digest('base64');
      if (!socket.authorized || socket.isSessionReused() || !pin || !target.spki_sha256.includes(pin))
        return fail(mismatch(url));
      signal.removeEventListener('abort', abort);
      resolve(socket);
    });
    if (signal.aborted) abort();
  });
}

/** What OpenSSL calls a certificate that is none of those we were given. */
const untrusted: ReadonlySet<string> = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'CERT_HAS_EXPIRED',
]);

function mismatch(url: URL, cause?: NodeJS.ErrnoException): RemoteError {
  const expired = cause?.code === 'CERT_HAS_EXPIRED';
  return new RemoteError(
    'certificate_mismatch',
    `the certificate of ${url.host} ${expired ? 'is over' : 'is not a pinned one'}`,
    {
      hint: expired
        ? 'where the controller is: `codex-remote controller rotate-certificate`; or the clock here is wrong'
        : 'something on the way answers for the controller, or its certificate was rotated while this machine was away: `codex-remote machine up` or `machine invite` anew',
    },
    cause,
  );
}

function bareHost(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1');
}

function requireLoopback(url: URL): void {
  if (!['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname)) {
    throw new RemoteError('no_reachable_endpoint', `ws:// is for loopback only, not for ${url.hostname}`, {
      hint: 'use wss://',
    });
  }
}
