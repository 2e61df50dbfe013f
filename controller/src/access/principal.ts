import type { Duplex } from 'node:stream';

/** Who asks. Always known from the connection that a request came over, never from what is in it. */
export type Principal = LocalPrincipal | TokenPrincipal;

/** A process of the controller's own user, over the Unix socket: it may everything, it could read our files anyway. */
export interface LocalPrincipal {
  readonly kind: 'local';
}

/** Who holds a token, over TLS. */
export interface TokenPrincipal {
  readonly kind: 'token';
  /** The public half of the token. */
  readonly id: string;
  /** As `scopes.ts` reads them. */
  readonly scopes: readonly string[];
  /** Where it is limited to some machines: which. */
  readonly machines?: readonly string[];
}

export const localPrincipal: LocalPrincipal = { kind: 'local' };

/** Connections of this process to its private socket. One that is not in here is of the network, whoever accepted it. */
const local = new WeakSet<object>();

/** For who accepts on the private socket: everything that comes over this connection is from our own user. */
export function arrivedLocally(socket: Duplex): void {
  local.add(socket);
}

export function isLocal(socket: object): boolean {
  return local.has(socket);
}

/** For logs and the audit: `uid:1000`, `token:ID`. */
export function nameOf(principal: Principal): string {
  return principal.kind === 'local' ? `uid:${process.getuid?.() ?? 0}` : `token:${principal.id}`;
}
