import { createHash, randomBytes } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';

/** A script or stdin that has come in whole. Who holds it uses it up (`rename`, open and unlink) or removes `path`. */
export interface Spooled {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** Largest script and largest stdin. Protects the machine's disk; the free-disk reserve is kept beside it. */
export const maxSpoolBytes = 4 * 1024 * 1024 * 1024;

/** Takes bytes in order into a private file, before the exec is accepted. Ends with `finish` or `discard`. */
export class Spool {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #hash = createHash('sha256');
  #bytes = 0;

  private constructor(path: string, file: FileHandle) {
    this.#path = path;
    this.#file = file;
  }

  static async create(dir: string): Promise<Spool> {
    const path = join(dir, randomBytes(12).toString('hex'));
    return new Spool(path, await open(path, 'wx', 0o600));
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Throws `too_large`, or `disk_low` when the disk is full. */
  async write(bytes: Uint8Array): Promise<void> {
    this.#bytes += bytes.byteLength;
    if (this.#bytes > maxSpoolBytes) {
      throw new RemoteError('too_large', `a script or stdin is over ${maxSpoolBytes} bytes`);
    }
    this.#hash.update(bytes);
    try {
      for (let at = 0; at < bytes.byteLength; ) {
        at += (await this.#file.write(bytes, at, bytes.byteLength - at)).bytesWritten;
      }
    } catch (error) {
      throw new RemoteError('disk_low', 'a script or stdin does not fit on the disk', {}, error);
    }
  }

  async finish(): Promise<Spooled> {
    await this.#file.close();
    return { path: this.#path, bytes: this.#bytes, sha256: this.#hash.digest('hex') };
  }

  async discard(): Promise<void> {
    await this.#file.close();
    await rm(this.#path, { force: true });
  }
}
