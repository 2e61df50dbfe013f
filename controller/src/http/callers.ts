import type { IncomingHttpHeaders } from 'node:http';
import type { Socket } from 'node:net';
import { recordsContentType } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { isLocal, localPrincipal, type Principal, type TokenPrincipal } from '../access/principal.ts';
import { unauthorized } from '../access/unauthorized.ts';
import { proven } from '../gateway/admission.ts';

/** How callers of the network are known. */
export interface Door {
  /** Who holds this token; the connection ends when the token does. Throws `unauthorized`, `too_many_failures`. */
  authenticate(token: string | undefined, socket: Socket): TokenPrincipal;
  /** Host names, without a port, under which a request may ask for us. */
  hosts(): readonly string[];
}

/** Where nobody has a token: nobody of the network is let in. */
export const closedDoor: Door = {
  authenticate: () => {
    throw unauthorized();
  },
  hosts: () => [],
};

export interface Caller {
  readonly principal: Principal;
  readonly source: string;
}

const types: readonly string[] = ['application/json', recordsContentType];

interface Asked {
  readonly method?: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly socket: Socket;
}

/**
 * Who asks, from the connection and what authenticates it. No browser has business here: a request that a web page can
 * cause is refused before its token is looked at. Throws `forbidden`, `unauthorized`, `usage`.
 */
export function callerOf({ method, headers, socket }: Asked, door: Door): Caller {
  refuseBrowsers(headers);
  const caller: Caller = isLocal(socket)
    ? { principal: localPrincipal, source: 'unix' }
    : callerOfNetwork(headers, socket, door);
  if (method === 'POST') requireContentType(headers['content-type']);
  return caller;
}

function callerOfNetwork(headers: IncomingHttpHeaders, socket: Socket, door: Door): Caller {
  requireHost(headers.host, door.hosts());
  const principal = door.authenticate(bearerOf(headers), socket);
  proven(socket);
  return { principal, source: socket.remoteAddress ?? 'gone' };
}

/** A page of any origin, this one too: nothing of ours is a page. Where a browser says nothing of itself, it has no token. */
export function refuseBrowsers(headers: IncomingHttpHeaders): void {
  const site = headers['sec-fetch-site'];
  if (headers.origin === undefined && (site === undefined || site === 'none')) return;
  throw new RemoteError('forbidden', 'forbidden: the API takes no requests of web pages', { sent: 'no' });
}

/** A name that somebody else has pointed at us (DNS rebinding) is not one of ours. */
function requireHost(given: string | undefined, ours: readonly string[]): void {
  const host = hostOf(given ?? '');
  if (host !== undefined && ours.includes(host)) return;
  throw new RemoteError('forbidden', 'forbidden: this host name is not one of the controller', {
    sent: 'no',
    hint: "the address is the controller's --public-url, or a loopback name where it listens on loopback",
  });
}

/** Without its port; undefined for what is no host. */
export function hostOf(header: string): string | undefined {
  const [, bracketed, plain] = /^(?:(\[[0-9a-f:.]+\])|([a-z0-9._-]+))(?::\d{1,5})?$/i.exec(header) ?? [];
  return (bracketed ?? plain)?.toLowerCase();
}

function bearerOf(headers: IncomingHttpHeaders): string | undefined {
  return /^bearer ([\w.~+/=-]{1,512})$/i.exec(headers.authorization ?? '')?.[1];
}

/** Not a type that a form of a web page can send. */
function requireContentType(given: string | undefined): void {
  const [type = ''] = (given ?? '').split(';', 1);
  if (types.includes(type.trim().toLowerCase())) return;
  throw new RemoteError('usage', `a POST says what it holds: content-type is ${types.join(' or ')}`, {
    sent: 'no',
  });
}
