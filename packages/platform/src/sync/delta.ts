import type { FileHandle } from 'node:fs/promises';
import { RemoteError, syncChunkBytes, syncLimits } from '@codex-remote/protocol/wire';
import { type Chunk, chunksOf } from '../tree/index.ts';
import type { Piece } from './source.ts';

/** A file that is smaller travels whole: cutting it costs more than it saves. */
export const minDeltaBytes = 1024 * 1024;
/** Of one file: what the source holds in memory of it. One with more pieces is known in part. */
const maxKnownChunks = 262_144;

/** The file that the target has, in pieces: where each of them is, by its length and digest. */
export class KnownChunks {
  readonly #offsets = new Map<string, number>();
  #end = 0;

  /** Pieces that follow those before. Throws `protocol_error` for a length that is none. */
  add(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at < bytes.byteLength; at += syncChunkBytes) {
      const length = view.getUint32(at);
      if (length === 0) throw new RemoteError('protocol_error', 'a piece of a file is empty');
      const key = keyOf(length, bytes.subarray(at + 4, at + syncChunkBytes));
      if (this.#offsets.size < maxKnownChunks) this.#offsets.set(key, this.#end);
      this.#end += length;
    }
  }

  offsetOf({ length, sha256 }: Chunk): number | undefined {
    return this.#offsets.get(keyOf(length, sha256));
  }
}

function keyOf(length: number, sha256: Uint8Array): string {
  return `${length} ${Buffer.from(sha256.buffer, sha256.byteOffset, sha256.byteLength).toString('latin1')}`;
}

/** Pieces as they travel. */
export function encodeChunks(chunks: readonly Chunk[]): Uint8Array {
  const bytes = Buffer.allocUnsafe(chunks.length * syncChunkBytes);
  for (const [i, { length, sha256 }] of chunks.entries()) {
    bytes.writeUInt32BE(length, i * syncChunkBytes);
    bytes.set(sha256, i * syncChunkBytes + 4);
  }
  return bytes;
}

/** How many travel in one item. */
export const chunksInItem = Math.floor(syncLimits.maxDataBytes / syncChunkBytes);

/** A file in pieces of its own content; of those that the target has, with where. */
export async function* deltaOf(
  file: FileHandle,
  size: number,
  known: KnownChunks,
): AsyncGenerator<Piece, void, void> {
  const buffer = Buffer.allocUnsafe(syncLimits.maxDataBytes);
  for await (const chunks of chunksOf(file)) {
    for (const chunk of chunks) {
      const { offset, length } = chunk;
      if (offset + length > size) return;
      const copy = known.offsetOf(chunk);
      for (let at = 0; at < length; ) {
        const { bytesRead } = await file.read(
          buffer,
          0,
          Math.min(buffer.byteLength, length - at),
          offset + at,
        );
        if (bytesRead === 0) return;
        const bytes = buffer.subarray(0, bytesRead);
        yield copy === undefined ? { bytes } : { bytes, copy: copy + at };
        at += bytesRead;
      }
    }
  }
}
