import { execFile } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { cp, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A folder that is a small file system of its own, which a test fills and frees. Needs root; `close` takes it away. */
export class SmallDisk {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Puts a tmpfs of this size (mount(8)) in the place of `folder`, with what was in it. Nobody may use it meanwhile. */
  static async under(folder: string, size: string): Promise<SmallDisk> {
    const aside = `${folder}.aside`;
    await rename(folder, aside);
    await mkdir(folder, { mode: 0o700 });
    await run('mount', ['-t', 'tmpfs', '-o', `mode=0700,size=${size}`, 'tmpfs', folder]);
    await cp(aside, folder, { recursive: true });
    await rm(aside, { recursive: true });
    return new SmallDisk(folder);
  }

  /** To its last byte. */
  fill(): void {
    const fd = openSync(this.#filler, 'a', 0o600);
    try {
      for (let bytes = 1024 * 1024; bytes > 0; bytes = bytes === 1 ? 0 : Math.floor(bytes / 16)) {
        fillWith(fd, Buffer.alloc(bytes));
      }
    } finally {
      closeSync(fd);
    }
  }

  async free(): Promise<void> {
    await rm(this.#filler, { force: true });
  }

  async close(): Promise<void> {
    // Lazily: processes may still stand in it, and are ended by their owners.
    await run('umount', ['-l', this.folder]);
  }

  get #filler(): string {
    return join(this.folder, 'filler');
  }
}

/** Until nothing more of it fits. */
function fillWith(fd: number, block: Buffer): void {
  try {
    while (writeSync(fd, block) === block.byteLength);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}
