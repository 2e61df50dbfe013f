import { type BigIntStats, constants, existsSync } from 'node:fs';
import { lstat, open, opendir, realpath, rmdir, stat, unlink } from 'node:fs/promises';
import type { FileRemoved } from '@codex-remote/protocol/schema';
import type { RemoteError } from '@codex-remote/protocol/wire';
import { errnoOf, fileError, refusal } from './file-error.ts';
import { typeOf } from './file-info.ts';
import { syncFolder } from './folders.ts';
import { below, splitPath, textField, withoutEnd } from './path.ts';

export interface RemoveOrder {
  readonly path: Buffer;
  readonly recursive: boolean;
  /** It, and what it lies in, is never removed. */
  readonly home: string;
}

/** Names of a folder that are read at once. */
const namesAtOnce = 1000;

/**
 * Removes what the name itself is: a symbolic link is never followed, here or anywhere below. A folder that is not empty goes
 * only with `recursive`, and what is mounted in it stays. `goesOn` throws where nobody waits for it any more. Throws as
 * file-error.ts says; `removed` of its facts tells how many names are gone by then.
 */
export async function removeFile(order: RemoveOrder, goesOn: () => void): Promise<FileRemoved> {
  const path = withoutEnd(order.path);
  const tree = new Tree(goesOn);
  try {
    refuseName(path);
    const found = await lstat(path, { bigint: true });
    if (!found.isDirectory()) {
      // With a slash at its end it is to be a folder.
      if (path.byteLength < order.path.byteLength)
        throw refusal('not_directory', 'remove', path, 'it is not a directory');
      await unlink(path);
    } else {
      await refuseHome(path, found, order.home);
      if (order.recursive) await tree.remove(path, path, found.dev);
      else await removeEmpty(path);
    }
    await syncFolder(splitPath(path).folder);
    const removed = found.isDirectory() && order.recursive ? tree.removed : 1;
    return { ...textField('path', path), type: typeOf(found), removed };
  } catch (error) {
    const failure = fileError('remove', path, error);
    throw tree.removed === 0 ? failure : failure.with({ facts: { removed: tree.removed } });
  }
}

function refuseName(path: Buffer): void {
  const name = splitPath(path).name.toString();
  if (name === '' || name === '.' || name === '..')
    throw never(path, `${name === '' ? '/' : name} is never removed`);
}

/** By what they are, not by their names: there are many ways to write them. */
async function refuseHome(path: Buffer, found: BigIntStats, home: string): Promise<void> {
  const real = await realpath(Buffer.from(home), { encoding: 'buffer' }).catch(() => Buffer.from(home));
  for (let at: Buffer = real; ; at = splitPath(at).folder) {
    const { dev, ino } = await stat(at, { bigint: true });
    if (dev === found.dev && ino === found.ino)
      throw never(path, 'the home of the user, and what it lies in, is never removed');
    if (at.equals(Buffer.from('/'))) return;
  }
}

function never(path: Buffer, says: string): RemoteError {
  return refusal('file_not_permitted', 'remove', path, says, { hint: 'name what is in it' });
}

async function removeEmpty(path: Buffer): Promise<void> {
  await rmdir(path).catch((error: unknown) => {
    const errno = errnoOf(error);
    if (errno !== 'ENOTEMPTY' && errno !== 'EEXIST') throw error;
    throw refusal('directory_not_empty', 'remove', path, 'the directory is not empty', {
      hint: '--recursive removes it with all that is in it; file list shows that',
    });
  });
}

/** A folder with all that is in it, and how far that has come. */
class Tree {
  removed = 0;
  readonly #goesOn: () => void;

  constructor(goesOn: () => void) {
    this.#goesOn = goesOn;
  }

  /**
   * `path` is `shown` for the system. Each folder is held open and its entries are named from there: whoever puts a link in
   * its place meanwhile leads us nowhere.
   */
  async remove(path: Buffer, shown: Buffer, dev: bigint): Promise<void> {
    try {
      const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
      const folder = await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      try {
        if ((await folder.stat({ bigint: true })).dev !== dev)
          throw refusal('file_failed', 'remove', shown, 'another file system is mounted there', {
            hint: 'unmount it first; what is on it was not touched',
          });
        await this.#empty(heldPath(folder.fd, path), shown, dev);
      } finally {
        await folder.close();
      }
      await rmdir(path);
      this.removed += 1;
    } catch (error) {
      throw fileError('remove', shown, error);
    }
  }

  async #empty(folder: Buffer, shown: Buffer, dev: bigint): Promise<void> {
    for (let names = await someNames(folder); names.length > 0; names = await someNames(folder)) {
      for (const name of names) {
        this.#goesOn();
        const [path, shownAs] = [below(folder, name), below(shown, name)];
        if ((await lstat(path)).isDirectory()) {
          await this.remove(path, shownAs, dev);
          continue;
        }
        await unlink(path).catch((error: unknown) => {
          throw fileError('remove', shownAs, error);
        });
        this.removed += 1;
      }
    }
  }
}

const hasHandles = existsSync('/proc/self/fd');

/** An open folder by its descriptor, where the system has such names. */
function heldPath(fd: number, path: Buffer): Buffer {
  return hasHandles ? Buffer.from(`/proc/self/fd/${fd}`) : path;
}

async function someNames(folder: Buffer): Promise<Buffer[]> {
  const names: Buffer[] = [];
  for await (const { name } of await opendir(folder, { encoding: 'latin1' as BufferEncoding })) {
    names.push(Buffer.from(name, 'latin1'));
    if (names.length === namesAtOnce) break;
  }
  return names;
}
