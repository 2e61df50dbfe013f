import type { Socket } from 'node:net';

/** Of one token: a command has one. Whoever holds a token does not take the descriptors of all others by it. */
export const maxConnectionsEach = 256;

/** The connections that a token has authenticated: they end with it. */
export class OpenConnections {
  readonly #sockets = new Map<string, Set<Socket>>();

  /** False where the token has as many as it may. */
  add(tokenId: string, socket: Socket): boolean {
    const open = this.#sockets.get(tokenId) ?? new Set();
    if (open.has(socket)) return true;
    if (open.size >= maxConnectionsEach) return false;
    this.#sockets.set(tokenId, open.add(socket));
    socket.once('close', () => {
      open.delete(socket);
      if (open.size === 0 && this.#sockets.get(tokenId) === open) this.#sockets.delete(tokenId);
    });
    return true;
  }

  /** Tokens that have connections now. */
  tokens(): string[] {
    return [...this.#sockets.keys()];
  }

  end(tokenId: string): void {
    for (const socket of this.#sockets.get(tokenId) ?? []) socket.destroy();
  }
}
