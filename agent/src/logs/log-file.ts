import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { RemoteError } from '@codex-remote/protocol/wire';

/**
 * Opens a log, for reading where `access` says nothing else: never through a symlink, never waiting for a FIFO's writer, and only the regular file that was
 * made for the exec (`inode`, where it is known). What is open is read on, whatever becomes of its name. The caller
 * closes the descriptor. Throws `log_gone`, `log_type`, `fds_exhausted`, `state_unusable`.
 */
export function openLog(path: string, inode?: number, access: number = constants.O_RDONLY): number {
  let fd: number;
  try {
    fd = openSync(path, access | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    throw refusal(path, error);
  }
  const stat = fstatSync(fd);
  if (stat.isFile() && (inode === undefined || stat.ino === inode)) return fd;
  closeSync(fd);
  throw notTheLog(path);
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
