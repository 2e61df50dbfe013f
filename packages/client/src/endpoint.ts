import { connect, type Socket } from 'node:net';
import type { RemoteError } from '@codex-remote/protocol/wire';
import { refused } from './refused.ts';

/** Where a controller is, and how a connection to it is made. */
export interface Endpoint {
  /** For messages, after "the controller": `on SOCKET`, `at URL`. */
  readonly name: string;
  /** Header lines of every request, each with its CRLF. */
  readonly head: string;
  /** Absent: the connection itself is not waited for longer than the answer. */
  readonly connectMs?: number;
  /**
   * Opens a connection, which its caller destroys. `ready` is called once it may be written to; until then nothing has been
   * sent. `failed` is for what the socket does not tell by itself.
   */
  open(ready: () => void, failed: (error: RemoteError) => void): Socket;
  /** What it means that the system refuses the connection (EPERM, EACCES). */
  refused(errno: string, cause: unknown): RemoteError;
  /** What it means that there is no connection, where it means more than that. */
  explain?(socket: Socket, cause: Error): RemoteError | undefined;
}

/** The private socket of this user's own controller. */
export function unixEndpoint(path: string): Endpoint {
  return {
    name: `on ${path}`,
    head: 'host: localhost\r\n',
    open: (ready) => connect({ path }).once('connect', ready),
    refused: (errno, cause) => refused(path, errno, cause),
  };
}
