import { RemoteError } from '@codex-remote/protocol/wire';
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

export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && 'errno' in error
    ? error.code
    : undefined;
}
