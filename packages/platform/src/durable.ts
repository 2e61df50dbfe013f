import { randomBytes } from 'node:crypto';
import {
  accessSync,
  closeSync,
  constants,
  fchmodSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';
import { failpoint } from './failpoint.ts';
import { checkParents } from './trusted-parents.ts';

/** Names of half-written files begin so; who owns a folder sweeps them at its start. */
const temporaryPrefix = '.tmp-';

/**
 * Makes `path` and its missing parents, each 0700 whatever the umask, and checks that the last one is a real directory
 * of ours that no other user can write, or put another in the place of. Throws `state_unusable`.
 */
export function makePrivateDir(path: string): void {
  try {
    checkParents(path);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const stat = lstatSync(path);
    if (!stat.isDirectory()) throw unusable(path, 'is not a directory');
    if (process.getuid && stat.uid !== process.getuid()) throw unusable(path, 'belongs to another user');
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    if ((stat.mode & 0o077) === 0) return;
    const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      fchmodSync(fd, 0o700);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (error instanceof RemoteError) throw error;
    const errno = (error as NodeJS.ErrnoException).code ?? 'unknown';
    throw new RemoteError(
      'state_unusable',
      `the folder ${path} cannot be made or used (${errno})`,
      errno === 'EACCES' ? { hint: `give its owner the rights to it: \`chmod u+rwx ${path}\`` } : {},
      error,
    );
  }
}

/**
 * Replaces `path` with `data`, 0600: after a crash it holds the old bytes or the new ones, never a part. Returns when file
 * and folder entry are on disk. Throws what the system said; then `path` is as it was.
 */
export function writeDurableSync(path: string, data: string | Uint8Array): void {
  const temporary = temporaryName(path);
  try {
    failpoint('durable.before');
    const fd = openSync(temporary, 'wx', 0o600);
    try {
      writeFileSync(fd, data);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    failpoint('durable.rename');
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncDirSync(dirname(path));
  failpoint('durable.after');
}

/**
 * `writeDurableSync` for what has to be said on a full disk too: `data`, padded to `bytes` with spaces. Where there is no
 * room for a new file it is written over the old one, whose blocks it has; a crash in the middle leaves a part then.
 */
export function writePaddedSync(path: string, data: string, bytes: number): void {
  const padded = Buffer.alloc(bytes, ' ');
  if (padded.write(data) !== Buffer.byteLength(data)) throw new Error(`${path} is made for ${bytes} bytes`);
  try {
    writeDurableSync(path, padded);
  } catch (error) {
    if (RemoteError.from(error).code !== 'disk_low') throw error;
    const fd = openSync(path, constants.O_WRONLY | constants.O_NOFOLLOW);
    try {
      writeSync(fd, padded, 0, bytes, 0);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }
}

/** `writeDurableSync` without blocking. Two at once on one path both succeed; the later rename stays. */
export async function writeDurable(path: string, data: string | Uint8Array): Promise<void> {
  const temporary = temporaryName(path);
  try {
    failpoint('durable.before');
    const file = await open(temporary, 'wx', 0o600);
    await closing(file, async () => {
      await file.writeFile(data);
      await file.sync();
    });
    failpoint('durable.rename');
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDir(dirname(path));
  failpoint('durable.after');
}

/** Puts the entries of a folder on disk: a file that was fsynced can still lose its name without this. */
export function syncDirSync(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

export async function syncDir(path: string): Promise<void> {
  const dir = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  await closing(dir, () => dir.sync());
}

/** Removes what a crash between write and rename left in `dir`. For the one process that may write there, at its start. */
export function sweepTemporary(dir: string): void {
  for (const name of readdirSync(dir)) {
    if (name.startsWith(temporaryPrefix)) rmSync(join(dir, name), { force: true });
  }
}

function temporaryName(path: string): string {
  return join(dirname(path), `${temporaryPrefix}${basename(path)}-${randomBytes(8).toString('hex')}`);
}

async function closing(file: FileHandle, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } finally {
    await file.close();
  }
}

function unusable(path: string, why: string): RemoteError {
  return new RemoteError('state_unusable', `the folder ${path} ${why}`);
}
