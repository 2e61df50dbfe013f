import { closeSync, fsyncSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';

export type LogName = 'stdout' | 'stderr';

/** One sector each, so that no write of one harms another. */
const slotBytes = 512;
const slots: readonly LogName[] = ['stdout', 'stderr', 'stdout', 'stderr'];

/**
 * How many of the oldest bytes of each log are gone: the file `released` of an exec's folder, absent until a log comes near
 * its limit. It is made, allocated and on disk long before the first byte goes, so a full disk cannot keep a number from
 * being noted. Each stream has two slots that are written in turn, whole lines `v1 STREAM BYTES end`; the greater holds.
 *
 * A number is noted before the bytes go: whoever asks after a read knows which of what it read were bytes of the job.
 */
export class Released {
  readonly #path: string;
  #bytes: { stdout: number; stderr: number } | undefined;
  #writes = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Everything of the stream before this offset is gone. */
  of(stream: LogName): number {
    return this.#known()[stream];
  }

  /** Allocates the file where there is none. Throws what the system said. */
  prepare(): void {
    if (sizeOf(this.#path) === slotBytes * slots.length) return;
    const fd = openSync(this.#path, 'a', 0o600);
    try {
      writeSync(fd, Buffer.alloc(slotBytes * slots.length - sizeOf(this.#path), '\n'));
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** On disk when it resolves, and known to every reader: the bytes may go then. Rejects with what the system said. */
  async note(stream: LogName, bytes: number): Promise<void> {
    const known = this.#known();
    if (bytes <= known[stream]) return;
    const slot = slots.indexOf(stream) + (this.#writes++ % 2) * 2;
    const file = await open(this.#path, 'r+');
    try {
      const line = Buffer.alloc(slotBytes, '\n');
      line.write(`v1 ${stream} ${bytes} end\n`);
      await file.write(line, 0, slotBytes, slot * slotBytes);
      await file.datasync();
    } finally {
      await file.close();
    }
    known[stream] = bytes;
  }

  #known(): { stdout: number; stderr: number } {
    this.#bytes ??= sizeOf(this.#path) === 0 ? { stdout: 0, stderr: 0 } : parseReleased(read(this.#path));
    return this.#bytes;
  }
}

/** Reads whole lines and ignores the rest. */
export function parseReleased(text: string): { stdout: number; stderr: number } {
  const bytes = { stdout: 0, stderr: 0 };
  for (const match of text.matchAll(/^v1 (stdout|stderr) (\d{1,16}) end$/gm)) {
    const stream = match[1] === 'stdout' ? 'stdout' : 'stderr';
    const gone = Number(match[2]);
    if (Number.isSafeInteger(gone)) bytes[stream] = Math.max(bytes[stream], gone);
  }
  return bytes;
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
