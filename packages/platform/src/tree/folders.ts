import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  lstatSync,
  openSync,
  realpathSync,
  statSync,
} from 'node:fs';
import { absoluteOf, type BytePath, lastName, parentPath, systemPath } from './entry.ts';
import { errnoOf, nameError, systemError } from './tree-error.ts';

const { O_DIRECTORY, O_NOFOLLOW } = constants;
/** Of Linux; Node does not name it. A folder that may be entered and not read can be opened with it. */
const O_PATH = 0o10000000;
/** Folders that are kept open. A walk in preorder comes back to those on its way. */
const maxOpen = 64;

/**
 * The folders of a tree, by descriptors: each is opened in the one above it and never through a symbolic link, so whoever swaps
 * a folder for a link meanwhile leads nobody out. Node has no openat(2): on Linux the name of a descriptor in /proc serves.
 * Elsewhere what a path leads to is asked right before it is used, which leaves a moment.
 */
export class Folders {
  /** Absolute, without symbolic links. */
  readonly root: BytePath;
  readonly #byDescriptor: boolean;
  readonly #open = new Map<BytePath, number>();

  /** `root`: absolute; links on the way to it are followed, it is what its user named. Throws as systemError says. */
  constructor(root: BytePath, byDescriptor = process.platform === 'linux' && existsSync('/proc/self/fd')) {
    this.#byDescriptor = byDescriptor;
    try {
      this.root = realpathSync(systemPath(root), { encoding: 'latin1' as BufferEncoding });
      if (this.#byDescriptor)
        this.#open.set('', openSync(systemPath(this.root), O_PATH | O_DIRECTORY | O_NOFOLLOW));
      else if (!statSync(systemPath(this.root)).isDirectory())
        throw nameError('not_directory', root, 'it is not a directory');
    } catch (error) {
      throw systemError(root, error);
    }
  }

  /**
   * Where the system finds the name `path` of the tree, good until the next call. Throws `not_directory` where a part of the
   * way is none, and what the system says.
   */
  at(path: BytePath): string | Buffer {
    return this.in(parentPath(path), lastName(path));
  }

  /** The same for `name` in `folder`. */
  in(folder: BytePath, name: BytePath): string | Buffer {
    return systemPath(`${this.#locate(folder)}/${name}`);
  }

  /** A folder itself, to be changed. */
  itself(folder: BytePath): string | Buffer {
    return systemPath(this.#locate(folder));
  }

  /** `work` with a way to what is there itself, a link or a device too: it is not followed, read or waited for. */
  withFile<T>(path: BytePath, work: (itself: string | Buffer) => T): T {
    const at = this.at(path);
    if (!this.#byDescriptor) {
      if (lstatSync(at).isSymbolicLink()) throw nameError('file_type', path, 'it is a symbolic link');
      return work(at);
    }
    const fd = openSync(at, O_PATH | O_NOFOLLOW);
    try {
      return work(`/proc/self/fd/${fd}`);
    } finally {
      closeSync(fd);
    }
  }

  /** Lets the owner of a folder work in it where its mode does not; gives the mode that it had, or undefined. */
  unlock(folder: BytePath): number | undefined {
    const itself = this.itself(folder);
    const { mode, uid } = statSync(itself);
    if ((mode & 0o700) === 0o700 || uid !== process.getuid?.()) return undefined;
    chmodSync(itself, (mode & 0o7777) | 0o700);
    return mode & 0o7777;
  }

  /** For folders that are removed or replaced: what is open is no longer what has the name. */
  forget(folder: BytePath): void {
    for (const [path, fd] of this.#open)
      if (path !== '' && (path === folder || path.startsWith(`${folder}/`))) this.#close(path, fd);
  }

  close(): void {
    for (const [path, fd] of this.#open) this.#close(path, fd);
  }

  #locate(folder: BytePath): string {
    return this.#byDescriptor ? `/proc/self/fd/${this.#descriptor(folder)}` : this.#checked(folder);
  }

  #descriptor(folder: BytePath): number {
    const known = this.#open.get(folder);
    if (known !== undefined) return known;
    // All of the way has been looked at once when the parent is open.
    const parent = this.#descriptor(parentPath(folder));
    const fd = openFolder(systemPath(`/proc/self/fd/${parent}/${lastName(folder)}`), folder);
    this.#makeRoom();
    this.#open.set(folder, fd);
    return fd;
  }

  /** The one that was opened first goes, never the tree itself. */
  #makeRoom(): void {
    if (this.#open.size < maxOpen) return;
    for (const [path, fd] of this.#open) {
      if (path === '') continue;
      this.#close(path, fd);
      return;
    }
  }

  #checked(folder: BytePath): BytePath {
    let path = this.root;
    for (const name of folder === '' ? [] : folder.split('/')) {
      path = absoluteOf(path, name);
      if (!lstatSync(systemPath(path)).isDirectory()) throw notDirectory(folder);
    }
    return path;
  }

  #close(path: BytePath, fd: number): void {
    this.#open.delete(path);
    closeSync(fd);
  }
}

function openFolder(path: string | Buffer, folder: BytePath): number {
  try {
    return openSync(path, O_PATH | O_DIRECTORY | O_NOFOLLOW);
  } catch (error) {
    const errno = errnoOf(error);
    throw errno === 'ENOTDIR' || errno === 'ELOOP' ? notDirectory(folder) : error;
  }
}

function notDirectory(folder: BytePath): Error {
  return nameError('not_directory', folder, 'it is not a directory any more');
}
