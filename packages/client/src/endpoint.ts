import { lstatSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';
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

/** The private socket of this user's own controller; `state_unusable` where another user could have put it there. */
export function unixEndpoint(path: string): Endpoint {
  return {
    name: `on ${path}`,
    head: 'host: localhost\r\n',
    open: (ready, failed) =>
      connect({ path }).once('connect', () => {
        const foreign = foreignFolder(dirname(path));
        if (foreign === undefined) ready();
        else failed(foreign);
      }),
    refused: (errno, cause) => refused(path, errno, cause),
  };
}

/** Commands and secrets go into it: a socket in a folder of somebody else's, or that others write to, may be theirs. */
function foreignFolder(folder: string): RemoteError | undefined {
  const stat = lstatSync(folder, { throwIfNoEntry: false });
  if (stat === undefined || !stat.isDirectory()) return undefined;
  const own = stat.uid === process.getuid?.();
  if (own && (stat.mode & 0o022) === 0) return undefined;
  return new RemoteError(
    'state_unusable',
    own
      ? `the folder ${folder} can be changed by other users`
      : `the folder ${folder} belongs to another user`,
    {
      hint: own ? `\`chmod 700 ${folder}\`` : 'choose another place by CODEX_REMOTE_HOME',
      sent: 'no',
      facts: { folder },
    },
  );
}
