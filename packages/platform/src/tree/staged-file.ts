import { closeSync, constants, openSync } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import type { Entry } from './entry.ts';
import { secondsOf } from './look.ts';
import type { Staging } from './staging.ts';
import { nameError, systemError } from './tree-error.ts';

const pieceBytes = 256 * 1024;

/** Gives what is staged as `work` its name in the tree. */
export type Place = (work: string) => void;

/**
 * A file of which a part is there, in the staging folder. Who has it ends it with `commit`, `leave` or `discard`, after which
 * the others do nothing. All throw what systemError makes of the system's answer.
 */
export class StagedFile {
  readonly #entry: Entry;
  readonly #staging: Staging;
  readonly #work: string;
  readonly #file: FileHandle;
  readonly #base: FileHandle | undefined;
  readonly #place: Place;
  #bytes: number;
  #open = true;

  /** `from`: bytes of the part that was left which stay. `base` is closed by it. */
  static async open(
    entry: Entry,
    from: number,
    staging: Staging,
    base: FileHandle | undefined,
    place: Place,
  ): Promise<StagedFile> {
    const work = staging.claim(entry);
    try {
      const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
      const flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK;
      staging.making(() => closeSync(openSync(staging.at(work), flags | O_CREAT, 0o600)));
      const file = await open(staging.at(work), flags);
      try {
        const stat = await file.stat();
        if (!stat.isFile() || stat.nlink !== 1 || stat.size < from)
          throw nameError('file_changed', entry.path, 'the part of it that was there is gone');
        await file.truncate(from);
        return new StagedFile(entry, from, staging, work, file, base, place);
      } catch (error) {
        await file.close();
        throw error;
      }
    } catch (error) {
      staging.done(work);
      await base?.close();
      throw systemError(entry.path, error);
    }
  }

  private constructor(
    entry: Entry,
    from: number,
    staging: Staging,
    work: string,
    file: FileHandle,
    base: FileHandle | undefined,
    place: Place,
  ) {
    this.#entry = entry;
    this.#bytes = from;
    this.#staging = staging;
    this.#work = work;
    this.#file = file;
    this.#base = base;
    this.#place = place;
  }

  /** What is there by now; each piece is good until the next is asked for. */
  readBack(): AsyncGenerator<Uint8Array> {
    return this.#read(this.#file, 0, this.#bytes);
  }

  /** Behind what is there, one after the other. */
  async write(...pieces: readonly Uint8Array[]): Promise<void> {
    try {
      const total = pieces.reduce((bytes, piece) => bytes + piece.byteLength, 0);
      const { bytesWritten } = await this.#file.writev(pieces, this.#bytes);
      this.#bytes += bytesWritten;
      if (bytesWritten < total) await this.#writeRest(Buffer.concat(pieces).subarray(bytesWritten));
    } catch (error) {
      throw systemError(this.#entry.path, error);
    }
  }

  /** The system may take less than it is given, as where its disk is full. */
  async #writeRest(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.byteLength; ) {
      const { bytesWritten } = await this.#file.write(bytes, at, bytes.byteLength - at, this.#bytes);
      at += bytesWritten;
      this.#bytes += bytesWritten;
    }
  }

  /** Bytes of the file that has the name now, behind what is there; gives them too. */
  async *copyBase(offset: number, length: number): AsyncGenerator<Uint8Array> {
    if (!this.#base) throw nameError('file_changed', this.#entry.path, 'the file before it is gone');
    for await (const bytes of this.#read(this.#base, offset, length)) {
      await this.write(bytes);
      yield bytes;
    }
  }

  /** Under its name, with its mode and time, in one step. */
  async commit(): Promise<void> {
    if (!this.#open) return;
    const { mode, mtimeUs } = this.#entry;
    try {
      await this.#file.utimes(secondsOf(mtimeUs), secondsOf(mtimeUs));
      await this.#file.chmod(mode);
      await this.#close();
      this.#place(this.#work);
      this.#staging.done(this.#work);
    } catch (error) {
      await this.#close();
      await rm(this.#staging.at(this.#work), { force: true }).catch(() => undefined);
      this.#staging.done(this.#work);
      throw systemError(this.#entry.path, error);
    }
  }

  /** What is there stays for the next run that is sent the same file. */
  async leave(): Promise<void> {
    if (!(await this.#close())) return;
    this.#staging.leave(this.#work);
  }

  async discard(): Promise<void> {
    if (!(await this.#close())) return;
    this.#staging.discard(this.#work);
  }

  async *#read(file: FileHandle, offset: number, length: number): AsyncGenerator<Uint8Array> {
    const buffer = Buffer.allocUnsafe(Math.min(pieceBytes, length));
    for (let at = 0; at < length; ) {
      const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.byteLength, length - at), offset + at);
      if (bytesRead === 0)
        throw nameError('file_changed', this.#entry.path, 'what is there of it became less');
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }

  /** False: it was closed before. */
  async #close(): Promise<boolean> {
    if (!this.#open) return false;
    this.#open = false;
    await this.#file.close();
    await this.#base?.close();
    return true;
  }
}
