import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  fchmodSync,
  futimesSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmdirSync,
  rmSync,
  type Stats,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { type Chunk, chunksOf } from './chunks.ts';
import { type BytePath, type Entry, parentPath, permissionBits, systemPath } from './entry.ts';
import { Folders } from './folders.ts';
import { treeLimits } from './limits.ts';
import { secondsOf } from './look.ts';
import { nameFault, stagingName, targetFault } from './names.ts';
import { StagedFile } from './staged-file.ts';
import { Staging } from './staging.ts';
import { badPath, errnoOf, nameError, overLimit, systemError } from './tree-error.ts';

const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = constants;

/**
 * Writes into a tree what a comparison says. A file is whole under a name of ours before it gets its own, in one step; what is
 * outside of the tree, and what git keeps, is never touched, whoever asks for it and whatever is swapped meanwhile. Its owner
 * calls `close`, which gives folders the modes that would have been in the way. All throw what systemError makes of the
 * system's answer, about one name; `disk_low` is the matter of all.
 */
export class TreeWriter {
  readonly #folders: Folders;
  readonly #staging: Staging;
  readonly #lateModes = new Map<BytePath, number>();
  #closed = false;

  /** `root`: absolute; it and what is missing on the way to it is made. */
  constructor(root: BytePath) {
    try {
      mkdirSync(systemPath(root), { recursive: true });
      this.#folders = new Folders(root);
      try {
        this.#staging = this.#in('', () => new Staging(this.#folders));
      } catch (error) {
        this.#folders.close();
        throw error;
      }
    } catch (error) {
      throw systemError(root, error);
    }
  }

  /** A link or a file that has its name is removed; a folder is as good. */
  makeDirectory({ path, mode }: Entry): void {
    this.#write(path, () => {
      const there = this.#stat(path);
      if (there && !there.isDirectory()) this.#unlink(path, there);
      if (!there?.isDirectory()) mkdirSync(this.#folders.at(path), 0o700);
      this.#setFolderMode(path, mode);
    });
  }

  link({ path, target = '' }: Entry): void {
    const fault = targetFault(path, target);
    if (fault !== undefined) throw nameError('sync_path', path, fault);
    this.#write(path, () => {
      const name = this.#staging.fresh();
      this.#staging.making(() => symlinkSync(systemPath(target), this.#staging.at(name)));
      this.#place(path, name, () => symlinkSync(systemPath(target), this.#beside(path, name)));
    });
  }

  /** Mode and time of what is there. Of a file that has other names nothing is changed: those may be anywhere. */
  chmod({ path, type, mode, mtimeUs }: Entry): void {
    this.#write(path, () => {
      if (type === 'directory') return this.#setFolderMode(path, mode);
      this.#folders.withFile(path, (itself) => {
        const there = statSync(itself);
        if (!there.isFile() || there.nlink !== 1)
          throw nameError('file_changed', path, 'it was replaced meanwhile, or has other names');
        chmodSync(itself, mode);
        utimesSync(itself, secondsOf(mtimeUs), secondsOf(mtimeUs));
      });
    });
  }

  /** One name: a folder must be empty. What is gone is as good. */
  remove(path: BytePath): void {
    this.#write(path, () => {
      const there = this.#stat(path);
      if (!there) return;
      if (!there.isDirectory()) return this.#unlink(path, there);
      this.#folders.forget(path);
      this.#lateModes.delete(path);
      rmdirSync(this.#folders.at(path));
    });
  }

  /** All of a file at once, for small ones. */
  writeSmall(entry: Entry, bytes: Uint8Array): void {
    const { path } = entry;
    this.#write(path, () => {
      const name = this.#staging.fresh();
      try {
        this.#staging.making(() => fill(this.#staging.at(name), entry, bytes));
        this.#place(path, name, () => fill(this.#beside(path, name), entry, bytes));
      } catch (error) {
        rmSync(this.#staging.at(name), { force: true });
        throw error;
      }
    });
  }

  /** Bytes of a file that a run which broke has left. */
  partBytes(entry: Entry): number {
    return this.#staging.partBytes(entry);
  }

  /** A file that comes piece by piece, behind the first `from` bytes of what a run before has left. */
  async stage(entry: Entry, from: number): Promise<StagedFile> {
    this.#check(entry.path);
    const place = (work: string) =>
      this.#write(entry.path, () => this.#place(entry.path, work, () => this.#copy(entry, work)));
    return StagedFile.open(entry, from, this.#staging, await this.#openBase(entry), place);
  }

  /** Of the file that has the name of `entry` now; none where it is not a regular file. */
  async *baseChunks(entry: Entry): AsyncGenerator<readonly Chunk[]> {
    const base = await this.#openBase(entry);
    try {
      if (base) yield* chunksOf(base);
    } catch (error) {
      throw systemError(entry.path, error);
    } finally {
      await base?.close();
    }
  }

  /** Twice is as good. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.#staging.close();
      // What is in a folder first: it must be entered for that.
      for (const [path, mode] of [...this.#lateModes].sort(([a], [b]) => (a < b ? 1 : -1)))
        try {
          chmodSync(this.#folders.itself(path), mode);
        } catch (error) {
          if (errnoOf(error) !== 'ENOENT') throw systemError(path, error);
        }
    } finally {
      this.#folders.close();
    }
  }

  async #openBase({ path }: Entry): Promise<FileHandle | undefined> {
    try {
      const file = await open(this.#folders.at(path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
      if ((await file.stat()).isFile()) return file;
      await file.close();
    } catch {
      // Without it all of the file is sent.
    }
    return undefined;
  }

  #write(path: BytePath, work: () => void): void {
    this.#check(path);
    try {
      this.#in(parentPath(path), work);
    } catch (error) {
      throw systemError(path, error);
    }
  }

  /** Again where only the mode of the folder, which is its user's own, was in the way; it has it back in the end. */
  #in<T>(folder: BytePath, work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (errnoOf(error) !== 'EACCES') throw error;
      const mode = this.#folders.unlock(folder);
      if (mode === undefined) throw error;
      this.#later(folder, mode);
      return work();
    }
  }

  /** Names that no comparison of ours gives: whoever asks is not to be trusted. */
  #check(path: BytePath): void {
    for (const name of path.split('/')) {
      const fault = nameFault(name);
      if (fault !== undefined) throw badPath(path, fault);
    }
  }

  /** What is staged as `name` gets its own. `again` makes it beside that, where a mount is between. */
  #place(path: BytePath, name: string, again: () => void): void {
    const to = this.#folders.at(path);
    try {
      renameSync(this.#staging.at(name), to);
    } catch (error) {
      if (errnoOf(error) !== 'EXDEV') throw error;
      try {
        again();
        renameSync(this.#beside(path, name), to);
      } finally {
        rmSync(this.#beside(path, name), { force: true });
        rmSync(this.#staging.at(name), { force: true });
      }
    }
  }

  #copy({ path, mtimeUs }: Entry, work: string): void {
    const to = this.#beside(path, work);
    copyFileSync(this.#staging.at(work), to, constants.COPYFILE_FICLONE);
    utimesSync(to, secondsOf(mtimeUs), secondsOf(mtimeUs));
  }

  #beside(path: BytePath, name: string): string | Buffer {
    return this.#folders.in(parentPath(path), `${stagingName}-${name}`);
  }

  #setFolderMode(path: BytePath, mode: number): void {
    const itself = this.#folders.itself(path);
    const now = statSync(itself).mode & 0o7777;
    // Those of the special bits that it has are its own.
    const wanted = (now & ~permissionBits) | mode;
    const usable = wanted | 0o700;
    if (now !== usable) chmodSync(itself, usable);
    if (wanted === usable) this.#lateModes.delete(path);
    else this.#later(path, wanted);
  }

  #later(folder: BytePath, mode: number): void {
    if (this.#lateModes.size >= treeLimits.maxLateModes)
      throw overLimit('folders that their owner may not write to', treeLimits.maxLateModes);
    this.#lateModes.set(folder, mode);
  }

  #unlink(path: BytePath, there: Stats): void {
    if (!there.isFile() && !there.isSymbolicLink())
      throw nameError('file_type', path, 'a device, FIFO or socket is in its place');
    unlinkSync(this.#folders.at(path));
  }

  #stat(path: BytePath): Stats | undefined {
    return lstatSync(this.#folders.at(path), { throwIfNoEntry: false });
  }
}

function fill(path: string | Buffer, { mode, mtimeUs }: Entry, bytes: Uint8Array): void {
  const fd = openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    for (let at = 0; at < bytes.byteLength; ) at += writeSync(fd, bytes, at);
    fchmodSync(fd, mode);
    futimesSync(fd, secondsOf(mtimeUs), secondsOf(mtimeUs));
  } finally {
    closeSync(fd);
  }
}
