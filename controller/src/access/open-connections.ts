import type { Socket } from 'node:net';

/** The connections that a token has authenticated: they end with it. */
export class OpenConnections {
  readonly #sockets = new Map<string, Set<Socket>>();

  add(tokenId: string, socket: Socket): void {
    const open = this.#sockets.get(tokenId) ?? new Set();
    if (open.has(socket)) return;
    this.#sockets.set(tokenId, open.add(socket));
    socket.once('close', () => {
      open.delete(socket);
      if (open.size === 0 && this.#sockets.get(tokenId) === open) this.#sockets.delete(tokenId);
    });
  }

  /** Tokens that have connections now. */
  tokens(): string[] {
    return [...this.#sockets.keys()];
  }

  end(tokenId: string): void {
    for (const socket of this.#sockets.get(tokenId) ?? []) socket.destroy();
  }
}
