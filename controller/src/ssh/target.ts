import { isIPv6 } from 'node:net';
import { RemoteError } from '@codex-remote/protocol/wire';

/** What a user writes to say which host: `[user@]host[:port]`, `ssh://[user@]host[:port]`, IPv6 in brackets. */
export interface SshTarget {
  readonly user?: string;
  readonly host: string;
  readonly port?: number;
}

// Narrower than OpenSSH's own check (CVE-2023-51385): such words reach `Match exec` and `ProxyCommand` lines of the user's
// configuration through `%h` and `%r`. Neither begins with `-`.
const hostPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}$/;
const ipv6Pattern = /^[0-9A-Fa-f:]{2,39}(%[A-Za-z0-9_.-]{1,15})?$/;
const userPattern = /^[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}\$?$/;

/** Reads a target. Throws `ssh_config_invalid`. `what` names the place it came from, for the message. */
export function parseTarget(text: string, what = 'the ssh target'): SshTarget {
  const refuse = (why: string): never => {
    throw new RemoteError('ssh_config_invalid', `${what} ${JSON.stringify(text.slice(0, 200))} ${why}`, {
      hint: 'write it as user@host:port; user and port may be left out',
    });
  };
  const bare = text.startsWith('ssh://') ? text.slice('ssh://'.length).replace(/\/$/, '') : text;
  // The last @ divides: directory accounts are called user@domain.
  const at = bare.lastIndexOf('@');
  const user = at < 0 ? undefined : bare.slice(0, at);
  if (user !== undefined && !userPattern.test(user)) return refuse('has a user name that is not accepted');
  const [host, portText] = splitPort(bare.slice(at + 1));
  if (!hostPattern.test(host) && !(ipv6Pattern.test(host) && isIPv6(host)))
    return refuse('has a host name that is not accepted');
  const port = portText === undefined ? undefined : readPort(portText);
  if (portText !== undefined && port === undefined) return refuse('has a port that is not 1..65535');
  return { host, ...(user === undefined ? {} : { user }), ...(port === undefined ? {} : { port }) };
}

function splitPort(place: string): [host: string, port: string | undefined] {
  const bracket = /^\[([^\]]*)\](?::(.*))?$/.exec(place);
  if (bracket) return [bracket[1] ?? '', bracket[2]];
  const first = place.indexOf(':');
  // Two colons outside brackets: an IPv6 address without a port.
  if (first < 0 || first !== place.lastIndexOf(':')) return [place, undefined];
  return [place.slice(0, first), place.slice(first + 1)];
}

export function readPort(text: string): number | undefined {
  if (!/^\d{1,5}$/.test(text)) return undefined;
  const port = Number(text);
  return port >= 1 && port <= 65_535 ? port : undefined;
}

export function showTarget(target: SshTarget): string {
  const host = target.port !== undefined && target.host.includes(':') ? `[${target.host}]` : target.host;
  return `${target.user === undefined ? '' : `${target.user}@`}${host}${target.port === undefined ? '' : `:${target.port}`}`;
}
