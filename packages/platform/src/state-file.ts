import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { RemoteError } from '@codex-remote/protocol/wire';

/**
 * The text of a file of ours; undefined only when there is no such file. Never follows a
 * symlink and never waits for a FIFO's writer. Throws `fds_exhausted`, or `state_unusable` with the path: a file that
 * cannot be read is not a file that is missing.
 */
export function readStateFile(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw unreadable(path, error);
  }
  try {
    if (!fstatSync(fd).isFile()) throw notAFile(path);
    return readFileSync(fd, 'utf8');
  } catch (error) {
    throw unreadable(path, error);
  } finally {
    closeSync(fd);
  }
}

/** What the system said of a file or folder of ours, as users are told it. */
export function unreadable(path: string, cause: unknown): RemoteError {
  const failure = RemoteError.from(cause);
  if (failure.code !== 'internal') return failure;
  const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  if (errno === 'ELOOP') return notAFile(path, cause);
  return new RemoteError(
    'state_unusable',
    `${path} cannot be read (${errno})`,
    { hint: `make it readable for its owner again, for example \`chmod -R u+rwX ${path}\`` },
    cause,
  );
}

function notAFile(path: string, cause?: unknown): RemoteError {
  return new RemoteError(
    'state_unusable',
    `${path} is in the way: it is not the file that was written`,
    { hint: `move ${path} away` },
    cause,
  );
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
