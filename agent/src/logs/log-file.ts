import { closeSync, constants, fstatSync, openSync, type Stats, statSync } from 'node:fs';
import { RemoteError } from '@codex-remote/protocol/wire';

/**
 * Opens a log for reading: never through a symlink, never waiting for a FIFO's writer, and only a regular file. The
 * caller closes the descriptor. Throws `log_gone`, `log_type`, `fds_exhausted`, `state_unusable`.
 */
export function openLog(path: string): number {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    throw refusal(path, error);
  }
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw notTheLog(path);
}

/** Throws `log_type` when `path` no longer names the open file; a file that was only removed is still readable. */
export function checkSameFile(path: string, fd: number): void {
  const now = statSync(path, { throwIfNoEntry: false });
  const held = fstatSync(fd);
  if (now && !isSame(now, held)) throw notTheLog(path);
}

function isSame(a: Stats, b: Stats): boolean {
  return a.dev === b.dev && a.ino === b.ino;
}

function notTheLog(path: string): RemoteError {
  return new RemoteError('log_type', `${path} is not the file that the exec writes`);
}

function refusal(path: string, error: unknown): RemoteError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'ENOENT':
      return new RemoteError('log_gone', `${path} was removed`, {}, error);
    case 'ELOOP':
    case 'ENXIO':
      return notTheLog(path);
    case 'EMFILE':
    case 'ENFILE':
      return new RemoteError('fds_exhausted', `${path} cannot be opened now`, {}, error);
    default:
      return new RemoteError('state_unusable', `${path} cannot be read`, {}, error);
  }
}
