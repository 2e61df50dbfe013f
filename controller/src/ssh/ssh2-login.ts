import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { RemoteError } from '@codex-remote/protocol/wire';
import ssh2, { type Algorithms, type Client, type ClientErrorExtensions } from 'ssh2';
import { offeredAlgorithms } from './algorithms.ts';
import { Authentication, type NextMethod } from './authentication.ts';
import { ChannelDuplex } from './channel-duplex.ts';
import type { Deadline } from './deadline.ts';
import { type HostKey, readHostKey } from './host-key.ts';
import { type HostKeyEvent, HostKeyPolicy } from './host-key-policy.ts';
import type { Ask } from './question.ts';
import type { ResolvedHost } from './resolve.ts';
import { errnoOf, unreachable } from './unreachable.ts';

/** An answer to a keepalive is missed this often, at this distance, before the connection counts as dead. */
const keepalive = { keepaliveInterval: 5_000, keepaliveCountMax: 6 } as const;

/** RFC 4253 section 11.1: reasons by which a server ends a login that it refuses. OpenSSH uses 2 for too many attempts. */
const refusals = new Set<unknown>([2, 14]);

/** Opens the bytes to a hop: a TCP connection of our own, without Nagle's delay (250 ms against 55 to connect). */
export function dialHost(host: ResolvedHost, deadline: Deadline): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: host.host,
      port: host.port,
      family: host.addressFamily,
      noDelay: true,
      ...(host.bindAddress === undefined ? {} : { localAddress: host.bindAddress }),
    });
    const limit = deadline.watch((cancelled) => {
      socket.destroy();
      reject(cancelled ?? unreachable(host, 'ETIMEDOUT', 'it gives no answer'));
    });
    // Stays: whoever uses the socket hears of its errors by its end.
    socket.on('error', (error) => {
      limit.cancel();
      const errno = errnoOf(error);
      reject(unreachable(host, errno, sayings[errno] ?? `connecting failed with ${errno}`, error));
    });
    socket.once('connect', () => {
      limit.cancel();
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
export function dialThrough(
  client: Client,
  next: ResolvedHost,
  alive: () => boolean,
  deadline: Deadline,
): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    let late = false;
    const limit = deadline.watch((cancelled) => {
      late = true;
      reject(cancelled ?? unreachable(next, 'ETIMEDOUT', 'it gives no answer'));
    });
    client.forwardOut('127.0.0.1', 0, next.host, next.port, (error, channel) => {
      limit.cancel();
      if (error) reject(unreachable(next, 'jump_refused', 'the jump host does not lead there', error));
      else if (late) channel.close();
      else resolve(new ChannelDuplex(channel, alive).on('error', () => undefined));
    });
  });
}

/** What a login needs that is read from files, so that it is there before the host is dialled. */
export interface LoginPlan {
  readonly host: ResolvedHost;
  readonly policy: HostKeyPolicy;
  readonly algorithms: Algorithms;
  readonly authentication: Authentication;
}

/** Reads known_hosts and keys. Throws `ssh_config_invalid`. */
export async function planLogin(
  host: ResolvedHost,
  acceptHostKey?: string,
  ask?: Ask,
  onHostKey?: (event: HostKeyEvent) => void,
): Promise<LoginPlan> {
  const policy = await HostKeyPolicy.read(host, acceptHostKey, onHostKey);
  const algorithms = offeredAlgorithms(host, policy);
  if (algorithms === undefined) {
    throw new RemoteError(
      'ssh_config_invalid',
      `the ssh configuration leaves no algorithm for ${host.host} that ssh2 can do`,
      { hint: 'use the system transport for this machine' },
    );
  }
  return { host, policy, algorithms, authentication: await Authentication.prepare(host, ask) };
}

/**
 * Speaks SSH over `bytes` until the user is logged in; takes the bytes over and ends them when it fails. Throws
 * `host_key_unknown`, `host_key_changed`, `ssh_auth_failed`, `ssh_unreachable`.
 */
export async function login(bytes: Duplex, plan: LoginPlan, deadline: Deadline): Promise<Client> {
  const { host, policy, algorithms, authentication } = plan;
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
      const limit = deadline.watch((cancelled) => {
        const silent = () => unreachable(host, 'ETIMEDOUT', 'it does not finish the SSH handshake');
        reject(cancelled ?? (phase === 'handshake' ? silent() : authentication.error()));
      });
      const settle = (run: () => void): void => {
        limit.cancel();
        run();
      };
      const closed = () =>
        refusedKey ?? unreachable(host, 'closed', 'it closed the connection during the login');
      if (bytes.destroyed) return settle(() => reject(closed()));
      client.once('handshake', () => {
        phase = 'authentication';
      });
      client.once('ready', () => settle(resolve));
      client.on('error', (error: Error & ClientErrorExtensions) => {
        // The agent does not answer: ssh2 goes on with the next method by itself.
        if (error.level === 'agent') authentication.agentFailed();
        else settle(() => reject(refusedKey ?? failure(error, host, phase, authentication)));
      });
      client.once('close', () => settle(() => reject(closed())));
      client.connect({
        sock: bytes,
        username: host.user,
        hostVerifier,
        algorithms,
        // Ours is the one that counts; it covers all hops.
        readyTimeout: 0,
        authHandler: (methods, partialSuccess, next) =>
          authentication.next(methods, partialSuccess, next as NextMethod),
        // Servers other than OpenSSH have streamlocal forwarding too; one that has not refuses.
        strictVendor: false,
        ...keepalive,
      });
    });
    if (toStore !== undefined) await policy.store(toStore);
    if (bytes.destroyed) throw unreachable(host, 'closed', 'it closed the connection after the login');
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
