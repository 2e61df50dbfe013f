import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { type BytePath, systemPath } from './entry.ts';
import { goesOn } from './slice.ts';

const readBytes = 256 * 1024;

/** SHA-256 of a regular file, nothing else is read. Throws what the system says, and `cancelled`. */
export async function digestOf(absolute: BytePath, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const file = await open(systemPath(absolute), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const hash = createHash('sha256');
    const buffer = Buffer.allocUnsafe(readBytes);
    for (;;) {
      goesOn(signal);
      const { bytesRead } = await file.read(buffer, 0, readBytes, null);
      if (bytesRead === 0) return new Uint8Array(hash.digest());
      hash.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}
