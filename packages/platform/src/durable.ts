import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  constants,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';

export interface DurableOptions {
  /** Fails with EEXIST where the file exists, instead of replacing it. */
  readonly exclusive?: boolean;
  /** Permission bits; 0600 unless said. */
  readonly mode?: number;
}

const createFlags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/**
 * Replaces `path` whole or not at all, and returns when that will survive a power cut: a unique temporary file beside it,
 * fsync, rename, fsync of the folder (rename(2), fsync(2)). On failure the temporary file is removed and `path` is as before.
 */
export async function writeDurable(
  path: string,
  content: string | Uint8Array,
  options: DurableOptions = {},
): Promise<void> {
  const temporary = temporaryBeside(path);
  const file = await open(temporary, createFlags, options.mode ?? 0o600);
  try {
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    if (options.exclusive) return placeExclusively(temporary, path);
    await rename(temporary, path);
    fsyncDir(dirname(path));
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
}

/** The same, for starts of processes and other places that cannot wait in turn. */
export function writeDurableSync(
  path: string,
  content: string | Uint8Array,
  options: DurableOptions = {},
): void {
  const temporary = temporaryBeside(path);
  const fd = openSync(temporary, createFlags, options.mode ?? 0o600);
  try {
    try {
      writeFileSync(fd, content);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    if (options.exclusive) return placeExclusively(temporary, path);
    renameSync(temporary, path);
    fsyncDir(dirname(path));
  } catch (error) {
    removeQuietly(temporary);
    throw error;
  }
}

/** Makes names in a folder durable: what was created, renamed or removed in it (fsync(2), "Calling fsync() on a directory"). */
export function fsyncDir(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * A folder that only this user can enter, parents included where they are missing. One that exists is taken only if it is
 * a real folder and ours; its mode is set to 0700. Throws `state_unusable`.
 */
export function makePrivateDir(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const status = lstatSync(path);
    if (!status.isDirectory()) throw new Error('it is not a folder');
    if (status.uid !== process.getuid?.()) throw new Error(`it belongs to user ${status.uid}`);
    if ((status.mode & 0o777) !== 0o700) chmodSync(path, 0o700);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new RemoteError(
      'state_unusable',
      `the folder ${path} cannot be used: ${reason}`,
      { hint: 'make it writable for this user alone' },
      error,
    );
  }
}

/** link(2) fails where the name exists, which rename(2) does not. */
function placeExclusively(temporary: string, path: string): void {
  linkSync(temporary, path);
  removeQuietly(temporary);
  fsyncDir(dirname(path));
}

function temporaryBeside(path: string): string {
  return `${path}.${randomBytes(6).toString('hex')}.tmp`;
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It was renamed, or never made.
  }
}
