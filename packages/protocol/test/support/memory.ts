import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { settle } from './fake-clock.ts';

/** Bytes that are really held: garbage is collected until no more goes, since buffers are freed beside the collection. */
export async function heldBytes(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  if (typeof collect !== 'function') throw new Error('gc is not exposed');
  let held = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 20; round++) {
    collect();
    await settle();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    if (heapUsed + arrayBuffers >= held) break;
    held = heapUsed + arrayBuffers;
  }
  return held;
}
