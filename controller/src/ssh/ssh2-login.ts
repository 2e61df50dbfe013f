import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import ssh2, { type AuthHandlerMiddleware, type Client, type ClientErrorExtensions } from 'ssh2';
import { offeredAlgorithms } from './algorithms.ts';
import { Authentication } from './authentication.ts';
import { ChannelDuplex } from './channel-duplex.ts';
import { type HostKey, readHostKey } from './host-key.ts';
import type { HostKeyPolicy } from './host-key-policy.ts';
import type { ResolvedHost } from './resolve.ts';
import { errnoOf, unreachable } from './unreachable.ts';

/** An answer to a keepalive is missed this often, at this distance, before the connection counts as dead. */
const keepalive = { keepaliveInterval: 5_000, keepaliveCountMax: 6 } as const;

/** RFC 4253 section 11.1: reasons by which a server ends a login that it refuses. OpenSSH uses 2 for too many attempts. */
const refusals = new Set<unknown>([2, 14]);

export interface LoginOptions {
  readonly clock: Clock;
  readonly policy: HostKeyPolicy;
  /** `clock.monotonic()` at which the attempt is given up. */
  readonly deadline: number;
}

/** Opens the bytes to a hop: a TCP connection of our own, without Nagle's delay (250 ms against 55 to connect). */
export function dialHost(host: ResolvedHost, options: { clock: Clock; deadline: number }): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: host.host,
      port: host.port,
      family: host.addressFamily,
      noDelay: true,
      ...(host.bindAddress === undefined ? {} : { localAddress: host.bindAddress }),
    });
    const timer = options.clock.setTimer(Math.max(0, options.deadline - options.clock.monotonic()), () => {
      socket.destroy();
      reject(unreachable(host, 'ETIMEDOUT', 'it gives no answer'));
    });
    socket.once('error', (error) => {
      timer.cancel();
      const errno = errnoOf(error);
      reject(unreachable(host, errno, sayings[errno] ?? `connecting failed with ${errno}`, error));
    });
    socket.once('connect', () => {
      timer.cancel();
      socket.removeAllListeners('error');
      resolve(socket);
    });
  });
}

const sayings: Readonly<Record<string, string>> = {
  ENOTFOUND: 'the name is not known',
  EAI_AGAIN: 'the name cannot be looked up now',
  ECONNREFUSED: 'the connection is refused',
  ETIMEDOUT: 'it gives no answer',
};

/** Opens the bytes to the next host through a hop that is logged in (`ProxyJump`). */
export function dialThrough(client: Client, next: ResolvedHost, alive: () => boolean): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    client.forwardOut('127.0.0.1', 0, next.host, next.port, (error, channel) => {
      if (error) reject(unreachable(next, 'jump_refused', 'the jump host does not lead there', error));
      else resolve(new ChannelDuplex(channel, alive));
    });
  });
}

/**
 * Speaks SSH over `bytes` until the user is logged in; takes the bytes over and ends them when it fails. Throws
 * `host_key_unknown`, `host_key_changed`, `ssh_auth_failed`, `ssh_unreachable`.
 */
export async function login(bytes: Duplex, host: ResolvedHost, options: LoginOptions): Promise<Client> {
  const { clock, policy } = options;
  const algorithms = offeredAlgorithms(host, policy);
  if (algorithms === undefined) {
    bytes.destroy();
    throw new RemoteError(
      'ssh_config_invalid',
      `the ssh configuration leaves no algorithm for ${host.host} that ssh2 can do`,
      { hint: 'use the system transport for this machine' },
    );
  }
  let authentication: Authentication;
  try {
    authentication = await Authentication.prepare(host);
  } catch (error) {
    bytes.destroy();
    throw error;
  }
  const client = new ssh2.Client();
  let refusedKey: RemoteError | undefined;
  let toStore: HostKey | undefined;
  let phase: 'handshake' | 'authentication' = 'handshake';
  const hostVerifier = (blob: Buffer): boolean => {
    const key = readHostKey(blob);
    if (key === undefined) return false;
    const decision = policy.decide(key);
    if (!decision.trusted) refusedKey = decision.error;
    else if (decision.store) toStore = key;
    return decision.trusted;
  };
  try {
    await new Promise<void>((resolve, reject) => {
      const timer = clock.setTimer(Math.max(0, options.deadline - clock.monotonic()), () => {
        reject(
          phase === 'handshake'
            ? unreachable(host, 'ETIMEDOUT', 'it does not finish the SSH handshake')
            : authentication.error(),
        );
      });
      const settle = (run: () => void): void => {
        timer.cancel();
        run();
      };
      client.once('handshake', () => {
        phase = 'authentication';
      });
      client.once('ready', () => settle(resolve));
      client.on('error', (error: Error & ClientErrorExtensions) => {
        // The agent does not answer: ssh2 goes on with the next method by itself.
        if (error.level === 'agent') authentication.agentFailed();
        else settle(() => reject(refusedKey ?? failure(error, host, phase, authentication)));
      });
      client.once('close', () =>
        settle(() =>
          reject(refusedKey ?? unreachable(host, 'closed', 'it closed the connection during the login')),
        ),
      );
      client.connect({
        sock: bytes,
        username: host.user,
        hostVerifier,
        algorithms,
        // Ours is the one that counts; it covers all hops.
        readyTimeout: 0,
        // ssh2 asks for false, its types for nothing.
        authHandler: authentication.next satisfies (...args: Parameters<AuthHandlerMiddleware>) => unknown,
        // Servers other than OpenSSH have streamlocal forwarding too; one that has not refuses.
        strictVendor: false,
        ...keepalive,
      });
    });
    if (toStore !== undefined) await policy.store(toStore);
  } catch (error) {
    client.on('error', () => undefined);
    client.destroy();
    bytes.destroy();
    throw error;
  }
  client.removeAllListeners('error');
  client.removeAllListeners('close');
  return client;
}

function failure(
  error: Error & ClientErrorExtensions & { code?: unknown },
  host: ResolvedHost,
  phase: string,
  authentication: Authentication,
): RemoteError {
  if (error.level === 'client-authentication' || (phase === 'authentication' && refusals.has(error.code)))
    return authentication.error(error);
  if (error.level === 'client-socket')
    return unreachable(
      host,
      errnoOf(error),
      `the connection broke during the login (${errnoOf(error)})`,
      error,
    );
  if (error.level === 'handshake') {
    return unreachable(host, 'handshake', 'the two sides could not agree on the SSH handshake', error).with({
      facts: { ssh2_said: error.message.slice(0, 200) },
    });
  }
  return unreachable(host, 'protocol', 'it did not answer as an SSH server does', error);
}
