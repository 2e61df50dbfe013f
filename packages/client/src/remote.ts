import type { TLSSocket } from 'node:tls';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Endpoint } from './endpoint.ts';

/** A controller elsewhere, and what proves us to it and it to us. */
export interface RemoteController {
  /** https://HOST[:PORT] */
  readonly url: string;
  readonly token: string;
  /** PEM, trusted as they are. */
  readonly certificates: readonly string[];
  /** Base64 SHA-256 of the keys that the certificate may have. */
  readonly spki_sha256: readonly string[];
}

/** From the dial to the end of the TLS handshake. */
const connectMs = 10_000;
/** A follower hears nothing for hours: the system asks after so long whether the other side is there. */
const keepAliveMs = 10_000;

/**
 * TLS 1.3 to a controller elsewhere. The certificate must be one that we were given, and its key is compared with the pins
 * on every connection, after `secureConnect` and before any byte of ours: Node skips `checkServerIdentity` on resumed
 * sessions, and no session is resumed either. The token is sent to nobody else, and no redirect is followed.
 */
export function remoteEndpoint(remote: RemoteController): Endpoint {
  const url = new URL(remote.url);
  const unlike = (cause?: unknown) =>
    new RemoteError(
      'certificate_mismatch',
      `the controller at ${remote.url} showed another certificate than the pinned one`,
      {
        hint: 'somebody may be in between; where the controller has a new key, its owner makes a new token file',
        sent: 'no',
      },
      cause,
    );
  return {
    name: `at ${remote.url}`,
    head: `host: ${url.host}\r\nauthorization: Bearer ${remote.token}\r\n`,
    connectMs,
    open(ready, failed) {
      // Loaded only here: a command of the local controller does without both.
      const tls = process.getBuiltinModule('node:tls');
      const socket = tls.connect({
        host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
        port: Number(url.port || 443),
        ca: [...remote.certificates],
        minVersion: 'TLSv1.3',
        rejectUnauthorized: true,
        session: undefined,
        // The address may be any that leads there; the key is what identifies it.
        checkServerIdentity: () => undefined,
      });
      socket.setNoDelay(true);
      socket.setKeepAlive(true, keepAliveMs);
      return socket.once('secureConnect', () => {
        const pin = pinOf(socket);
        if (socket.authorized && !socket.isSessionReused() && pin && remote.spki_sha256.includes(pin))
          ready();
        else failed(unlike());
      });
    },
    refused: (errno, cause) =>
      new RemoteError(
        'sandbox_denied',
        `the system refused a connection to ${remote.url} (${errno})`,
        {
          hint: 'run this outside the sandbox (ask for permission to), or where the network may be used',
          sent: 'no',
          facts: { errno },
        },
        cause,
      ),
    explain: (socket, cause) => ((socket as TLSSocket).authorizationError ? unlike(cause) : undefined),
  };
}

function pinOf(socket: TLSSocket): string | undefined {
  const key = socket.getPeerX509Certificate()?.publicKey.export({ type: 'spki', format: 'der' });
  return key && process.getBuiltinModule('node:crypto').createHash('sha256').update(key).digest('base64');
}
