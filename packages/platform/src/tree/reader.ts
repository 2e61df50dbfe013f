import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { BytePath, Entry } from './entry.ts';
import { Folders } from './folders.ts';
import { mtimeUsOf } from './look.ts';
import { nameError, systemError } from './tree-error.ts';

const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;

/**
 * Reads files of a tree by the entries that a scan told of it: regular files alone, nothing through a symbolic link. Its
 * owner closes it. All throw `file_changed` where a file is not what its entry says any more, and what systemError makes of
 * the system's answer.
 */
export class TreeReader {
  readonly #folders: Folders;

  constructor(root: BytePath) {
    this.#folders = new Folders(root);
  }

  /** All of a file, at once. */
  readSmall(entry: Entry): Uint8Array {
    try {
      const fd = openSync(this.#folders.at(entry.path), flags);
      try {
        check(entry, fstatSync(fd));
        const bytes = Buffer.allocUnsafe(entry.size);
        let at = 0;
        while (at < entry.size) {
          const read = readSync(fd, bytes, at, entry.size - at, at);
          if (read === 0) throw changed(entry.path);
          at += read;
        }
        check(entry, fstatSync(fd));
        return bytes;
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      throw systemError(entry.path, error);
    }
  }

  /** The caller closes it, and asks `isSame` when it has read. */
  async openFile(entry: Entry): Promise<FileHandle> {
    try {
      const file = await open(this.#folders.at(entry.path), flags);
      try {
        check(entry, await file.stat());
        return file;
      } catch (error) {
        await file.close();
        throw error;
      }
    } catch (error) {
      throw systemError(entry.path, error);
    }
  }

  async isSame(entry: Entry, file: FileHandle): Promise<boolean> {
    return isEntry(entry, await file.stat());
  }

  close(): void {
    this.#folders.close();
  }
}

function check(entry: Entry, stat: Stats): void {
  if (!stat.isFile()) throw nameError('file_type', entry.path, 'it is not a regular file any more');
  if (!isEntry(entry, stat)) throw changed(entry.path);
}

function isEntry({ size, mtimeUs }: Entry, stat: Stats): boolean {
  return stat.size === size && mtimeUsOf(stat) === mtimeUs;
}

function changed(path: BytePath): Error {
  return nameError('file_changed', path, 'it was changed while it was read');
}
