import { statfsSync } from 'node:fs';
import { RemoteError } from '@codex-remote/protocol/wire';

export const defaultDiskReserveBytes = 64 * 1024 * 1024;

/** Disk that new execs leave free, so that those that run can still write. */
export class DiskReserve {
  readonly #path: string;
  readonly #bytes: number;

  /** `path`: a folder on the disk. */
  constructor(path: string, bytes: number) {
    this.#path = path;
    this.#bytes = bytes;
  }

  /** Throws `disk_low`. */
  check(): void {
    const stat = statfsSync(this.#path);
    const free = stat.bavail * stat.bsize;
    if (free >= this.#bytes) return;
    throw new RemoteError('disk_low', `the machine has ${free} bytes free under ${this.#path}`, {
      hint: `free at least ${this.#bytes} bytes there; running execs are kept`,
      sent: 'no',
    });
  }
}
