import { RemoteError } from '@codex-remote/protocol/wire';
import type { ResolvedHost } from './resolve.ts';

/** `user@host port 22 through hop` */
export function describeHost(host: ResolvedHost): string {
  const through =
    host.jumps.length === 0 ? '' : ` through ${host.jumps.map((hop) => hop.target.host).join(', ')}`;
  return `${host.user}@${host.host} port ${host.port}${through}`;
}

const hints: Readonly<Record<string, string>> = {
  ENOTFOUND: 'the name cannot be resolved: check its spelling and HostName in the ssh configuration',
  EAI_AGAIN: 'the name server does not answer: check the network here',
  ECONNREFUSED: 'nothing listens there: check the port and that sshd runs',
  ETIMEDOUT: 'nothing answers there: check that the host is up, the network, and firewalls on the way',
  EHOSTUNREACH: 'no route to the host: check the network, a VPN perhaps',
  ENETUNREACH: 'no route to the network: check the network, a VPN perhaps',
};

/** No SSH connection could be made. `reason`: an errno word or one of ours, for programs. */
export function unreachable(host: ResolvedHost, reason: string, what: string, cause?: unknown): RemoteError {
  return new RemoteError(
    'ssh_unreachable',
    `no SSH connection to ${describeHost(host)}: ${what}`,
    {
      hint: hints[reason] ?? `try \`ssh ${host.target.host}\` by hand`,
      facts: { host: host.host, port: host.port, reason },
    },
    cause,
  );
}

/** The errno word of a socket's error; with several addresses tried, that of the first. */
export function errnoOf(error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code;
  if (typeof code === 'string') return code;
  return error instanceof AggregateError && error.errors.length > 0 ? errnoOf(error.errors[0]) : 'failed';
}

/** The server listens on no Unix socket for us: a bridge is the way then, by `facts.forwarding`. */
export function forwardingRefused(host: ResolvedHost, cause?: unknown): RemoteError {
  const error = unreachable(host, 'forwarding_refused', 'the server refuses to forward a Unix socket', cause);
  return new RemoteError(
    error.code,
    error.message,
    { ...error.details, facts: { ...error.details.facts, forwarding: 'refused' } },
    cause,
  );
}
