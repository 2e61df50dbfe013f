import { statfsSync } from 'node:fs';
import { RemoteError } from '@codex-remote/protocol/wire';

export const defaultDiskReserveBytes = 64 * 1024 * 1024;

/** What logs beyond their limit leave free where nothing of them can be given back: more than new execs ask for. */
export const defaultLogReserveBytes = 256 * 1024 * 1024;

/** Disk that is left free by new execs, so that those that run can still write, or by logs that have no end. */
export class DiskReserve {
  readonly #path: string;
  readonly #bytes: number;

  /** `path`: a folder on the disk. */
  constructor(path: string, bytes: number) {
    this.#path = path;
    this.#bytes = bytes;
  }

  /** Bytes of it that are not free; negative: so many more are. */
  missing(): number {
    const stat = statfsSync(this.#path);
    return this.#bytes - stat.bavail * stat.bsize;
  }

  /** `more`: bytes that are about to be written. Throws `disk_low`. */
  check(more = 0): void {
    const missing = this.missing();
    if (missing + more <= 0) return;
    const free = this.#bytes - missing;
    throw new RemoteError('disk_low', `the machine has ${free} bytes free under ${this.#path}`, {
      hint: `free at least ${this.#bytes + more} bytes there; running execs are kept`,
      sent: 'no',
    });
  }
}
