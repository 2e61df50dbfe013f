import { constants } from 'node:fs';
import { chmod, mkdir, open, stat } from 'node:fs/promises';
import type { FolderMade } from '@codex-remote/protocol/schema';
import { errnoOf, fileError, refusal } from './file-error.ts';
import { splitPath, textField, withoutEnd } from './path.ts';

export interface FolderOrder {
  readonly path: Buffer;
  readonly parents: boolean;
  /** Absent: what `umask` leaves of 0777. */
  readonly mode?: number | undefined;
  readonly umask: number;
}

/**
 * Makes a folder, on disk when this resolves. Throws `file_exists` where something is there; with `parents` a folder that is
 * there is as good, and those on the way are made too.
 */
export async function makeFolder({ path, parents, mode, umask }: FolderOrder): Promise<FolderMade> {
  const folder = withoutEnd(path);
  try {
    const wanted = mode ?? 0o777 & ~umask;
    const created = parents
      ? await makeWithParents(folder, wanted, 0o777 & ~umask)
      : await makeOne(folder, wanted);
    const { mode: now } = await stat(folder, { bigint: true });
    return { ...textField('path', folder), mode: Number(now & 0o7777n), created };
  } catch (error) {
    if (errnoOf(error) === 'EEXIST')
      throw refusal('file_exists', 'make', folder, 'something of that name is there', {
        hint: '--parents takes a folder that is there; file stat tells what it is',
      });
    throw fileError('make', folder, error);
  }
}

/** Those that are missing on the way to `folder` and itself, each with `mode`. Throws what the system says. */
export async function makeFolders(folder: Buffer, mode: number): Promise<void> {
  await makeWithParents(withoutEnd(folder), mode, mode);
}

async function makeWithParents(folder: Buffer, mode: number, above: number): Promise<boolean> {
  try {
    return await makeOne(folder, mode);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') {
      const { folder: parent } = splitPath(folder);
      if (parent.equals(folder)) throw error;
      await makeWithParents(parent, above, above);
      return makeOneOrFind(folder, mode);
    }
    return found(folder, error);
  }
}

async function makeOneOrFind(folder: Buffer, mode: number): Promise<boolean> {
  return makeOne(folder, mode).catch((error: unknown) => found(folder, error));
}

/** A folder that is there already. Throws `error` where it is something else. */
async function found(folder: Buffer, error: unknown): Promise<false> {
  // A folder on a file system that cannot be written, or `..`, is there as well.
  const there = await stat(folder).catch(() => undefined);
  if (there?.isDirectory()) return false;
  throw error;
}

async function makeOne(folder: Buffer, mode: number): Promise<true> {
  await mkdir(folder, 0o700);
  // Whatever our own umask is, which lets nobody else in.
  const { mode: given } = await stat(folder);
  // A folder whose entries belong to its group hands that on.
  await chmod(folder, mode | (given & 0o2000));
  await syncFolder(splitPath(folder).folder);
  return true;
}

/** Puts its entries on disk. One that may be written and not read cannot be synced: its user wants it so. */
export async function syncFolder(folder: Buffer): Promise<void> {
  const opened = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY).catch((error: unknown) => {
    if (errnoOf(error) === 'EACCES') return undefined;
    throw error;
  });
  try {
    await opened?.sync();
  } catch (error) {
    // Some file systems have no such thing.
    if (errnoOf(error) !== 'EINVAL') throw error;
  } finally {
    await opened?.close();
  }
}
