import { type ErrorCode, type ErrorDetails, RemoteError } from '@codex-remote/protocol/wire';
import { shownPath, textField } from './path.ts';

interface Meaning {
  readonly code: ErrorCode;
  readonly says: string;
  readonly hint: string;
}

/** errno(3) names by what they are to users. */
const meanings: Readonly<Record<string, Meaning>> = {
  ENOENT: {
    code: 'file_not_found',
    says: 'there is no such file or directory',
    hint: 'file list shows what is there; a path that does not begin with / begins in the home',
  },
  EACCES: notPermitted('permission denied'),
  EPERM: notPermitted('operation not permitted'),
  EROFS: notPermitted('it is on a read-only file system'),
  EISDIR: {
    code: 'is_directory',
    says: 'it is a directory',
    hint: 'file list shows what is in it',
  },
  ENOTDIR: {
    code: 'not_directory',
    says: 'it, or a part of the path, is not a directory',
    hint: 'file stat tells what each part is',
  },
  ELOOP: {
    code: 'file_type',
    says: 'its symbolic links lead nowhere',
    hint: 'file stat shows where a link leads',
  },
  ENXIO: notRegular('device, FIFO or socket'),
  ENODEV: notRegular('device'),
  EAGAIN: notRegular('file that has nothing to read yet'),
  ENAMETOOLONG: {
    code: 'too_large',
    says: 'the path, or a name in it, is too long for the system',
    hint: 'names have at most 255 bytes on most systems',
  },
  EFBIG: {
    code: 'too_large',
    says: 'it is larger than the file system or the limits of the user allow',
    hint: 'look at `ulimit -f` and the file system there',
  },
  ENOSPC: diskFull('the disk is full'),
  EDQUOT: diskFull("the user's quota is used up"),
  EMFILE: {
    code: 'fds_exhausted',
    says: 'the agent is out of file descriptors',
    hint: 'repeat it in a moment',
  },
  ENFILE: {
    code: 'fds_exhausted',
    says: 'the machine is out of file descriptors',
    hint: 'repeat it in a moment',
  },
};

function notPermitted(says: string): Meaning {
  return { code: 'file_not_permitted', says, hint: 'file stat shows its mode and owner' };
}

function notRegular(what: string): Meaning {
  return { code: 'file_type', says: `it is a ${what}, not a regular file`, hint: 'exec run can use it' };
}

function diskFull(says: string): Meaning {
  return { code: 'disk_low', says, hint: 'free some disk there; what was there is as it was' };
}

/** What the system said of `path`, as an error of ours. `doing`: "read", "write" … What is one already stays. */
export function fileError(doing: string, path: Uint8Array, error: unknown): RemoteError {
  if (error instanceof RemoteError) return error;
  const errno = errnoOf(error);
  if (errno === undefined) return RemoteError.from(error);
  const known = Object.hasOwn(meanings, errno) ? meanings[errno] : undefined;
  return refusal(
    known?.code ?? 'file_failed',
    doing,
    path,
    known?.says ?? `the system answered ${errno}`,
    { hint: known?.hint ?? 'the disk or the file system of the machine may need a look', facts: { errno } },
    error,
  );
}

/** An error about `path`, which is among its facts. */
export function refusal(
  code: ErrorCode,
  doing: string,
  path: Uint8Array,
  says: string,
  { facts, ...details }: ErrorDetails = {},
  cause?: unknown,
): RemoteError {
  return new RemoteError(
    code,
    `cannot ${doing} ${shownPath(path)}: ${says}`,
    { ...details, facts: { ...textField('path', path), ...facts } },
    cause,
  );
}

export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && 'errno' in error
    ? error.code
    : undefined;
}
