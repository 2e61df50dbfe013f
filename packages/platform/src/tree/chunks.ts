import { createHash, hash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { chunkLimits } from './limits.ts';

/** A piece of a file. Where it ends is told by its content: an insertion before it moves it and changes nothing in it. */
export interface Chunk {
  readonly offset: number;
  readonly length: number;
  readonly sha256: Uint8Array;
}

/** Read at once, beside what is left of a chunk. */
const readBytes = 1024 * 1024;

/** A number for each byte, at random and the same everywhere: two ends must cut alike. */
const gear = Int32Array.from({ length: 256 }, (_, byte) =>
  createHash('sha256').update(`codex-remote chunk ${byte}`).digest().readInt32LE(0),
);

/** The highest bits depend on the last 32 bytes. More of them before the average, fewer behind it: sizes lie closer together. */
const { minBytes, averageBits, maxBytes } = chunkLimits;
const strictMask = -1 << (32 - averageBits - 2);
const looseMask = -1 << (32 - averageBits + 2);
const averageBytes = 2 ** averageBits;

/**
 * Length of the chunk that begins at `from`, of which bytes up to `to` are there. They are as many as a chunk can have, or all
 * that is left.
 */
export function chunkLength(bytes: Uint8Array, from: number, to: number): number {
  const end = Math.min(to, from + maxBytes);
  const middle = Math.min(end, from + averageBytes);
  let rolling = 0;
  let at = from + minBytes;
  for (; at < middle; at++) {
    rolling = ((rolling << 1) + (gear[bytes[at] ?? 0] ?? 0)) | 0;
    if ((rolling & strictMask) === 0) return at + 1 - from;
  }
  for (; at < end; at++) {
    rolling = ((rolling << 1) + (gear[bytes[at] ?? 0] ?? 0)) | 0;
    if ((rolling & looseMask) === 0) return at + 1 - from;
  }
  return end - from;
}

/** All chunks of an open file, from its beginning to where it ends when it is read. */
export async function* chunksOf(file: FileHandle): AsyncGenerator<readonly Chunk[]> {
  const buffer = Buffer.allocUnsafe(readBytes + maxBytes);
  let offset = 0;
  let held = 0;
  for (let ended = false; !ended; ) {
    const { bytesRead } = await file.read(buffer, held, buffer.byteLength - held, offset + held);
    held += bytesRead;
    ended = bytesRead === 0;
    const chunks: Chunk[] = [];
    let at = 0;
    while (at < held && (ended || held - at >= maxBytes)) {
      const length = chunkLength(buffer, at, held);
      const sha256 = hash('sha256', buffer.subarray(at, at + length), 'buffer');
      chunks.push({ offset: offset + at, length, sha256 });
      at += length;
    }
    buffer.copyWithin(0, at, held);
    offset += at;
    held -= at;
    if (chunks.length > 0) yield chunks;
    await setImmediate();
  }
}
