import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { RemoteError } from '@codex-remote/protocol/wire';

export interface PrivateListener {
  /** Stops listening and removes the socket; connections that are open stay. */
  close(): Promise<void>;
}

/**
 * Listens on a Unix socket that only this user can reach: its folder is 0700 and the socket 0600 from the first moment
 * (umask 077; a chmod after listen would race). What an ended process left at `path` is removed: the caller holds the lock
 * that says nobody serves there. Anything that is not a socket is refused with `state_unusable`.
 */
export function listenPrivately(
  path: string,
  onConnection: (socket: Socket) => void,
): Promise<PrivateListener> {
  removeLeftover(path);
  const server = createServer(onConnection);
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(new RemoteError('state_unusable', `cannot listen on ${path}: ${error.message}`, {}, error)),
    );
    server.listen(path, () => {
      chmodSync(path, 0o600);
      // A connection that cannot be taken, for want of descriptors, is its caller's loss alone.
      server.on('error', () => undefined);
      // `close` waits for open connections, which have owners of their own; unlinking is done by net at once.
      resolve({
        close: () => {
          server.close();
          return Promise.resolve();
        },
      });
    });
  });
}

function removeLeftover(path: string): void {
  const status = lstatSync(path, { throwIfNoEntry: false });
  if (!status) return;
  if (!status.isSocket())
    throw new RemoteError('state_unusable', `${path} is in the way: it is not a socket`, {
      hint: 'move it away',
    });
  unlinkSync(path);
}
