import { type ErrorCode, RemoteError } from '@codex-remote/protocol/wire';
import { type BytePath, pathText } from './entry.ts';

const maxShownChars = 300;

/** For messages. */
export function shownPath(path: BytePath): string {
  const text = pathText(path);
  return text.length > maxShownChars ? `${text.slice(0, maxShownChars)}…` : text;
}

/** What a tree says that no tree can be. */
export function badPath(path: BytePath, says: string): RemoteError {
  return new RemoteError('sync_path', `the tree has ${JSON.stringify(shownPath(path))}: ${says}`, {
    hint: 'nothing of it was written; whoever sent it is not what it says, or is of another release',
    facts: { path: shownPath(path) },
  });
}

export function overLimit(what: string, limit: number): RemoteError {
  return new RemoteError('sync_limit', `the tree has ${what}: at most ${limit} are taken`, {
    hint: 'leave parts of it out with --exclude, or take a folder of it',
    facts: { limit },
  });
}

export function badManifest(says: string): RemoteError {
  return new RemoteError('protocol_error', `the list of a tree cannot be read: ${says}`);
}

/** What stands in the way of one name; the rest of the tree may go on. */
export function nameError(code: ErrorCode, path: BytePath, says: string, cause?: unknown): RemoteError {
  return new RemoteError(code, `${shownPath(path)}: ${says}`, { facts: { path: shownPath(path) } }, cause);
}

/** errno(3) names by what they are for a name of a tree. */
const meanings: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ENOENT: ['file_not_found', 'there is no such file or directory'],
  EACCES: ['file_not_permitted', 'permission denied'],
  EPERM: ['file_not_permitted', 'operation not permitted'],
  EROFS: ['file_not_permitted', 'it is on a read-only file system'],
  EISDIR: ['is_directory', 'a directory is in its place'],
  ENOTEMPTY: ['directory_not_empty', 'it is not empty'],
  EEXIST: ['file_exists', 'something is in its place'],
  ENOTDIR: ['not_directory', 'a part of its path is not a directory'],
  ELOOP: ['file_type', 'it is a symbolic link'],
  ENXIO: ['file_type', 'it is not a regular file'],
  ENAMETOOLONG: ['too_large', 'its name is too long for the file system there'],
  EFBIG: ['too_large', 'it is larger than the file system or the limits of the user allow'],
};

/** What the system said about a name, as an error of ours. What is one already, and what is the matter of all, stays. */
export function systemError(path: BytePath, error: unknown): RemoteError {
  if (error instanceof RemoteError) return error;
  const errno = errnoOf(error);
  if (errno === undefined) return RemoteError.from(error);
  const known = RemoteError.from(error);
  if (known.code === 'disk_low')
    return new RemoteError(
      'disk_low',
      `${shownPath(path)}: there is no room for it`,
      {
        hint: 'free some disk or quota on that side, then repeat it: what was done is done, and it goes on where it was',
        facts: { path: shownPath(path) },
      },
      error,
    );
  if (known.code !== 'internal') return known;
  const [code, says] = (Object.hasOwn(meanings, errno) ? meanings[errno] : undefined) ?? [
    'file_failed',
    `the system answered ${errno}`,
  ];
  return nameError(code, path, says, error);
}

export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && 'errno' in error
    ? error.code
    : undefined;
}
