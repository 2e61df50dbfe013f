import { zstdDecompressSync } from 'node:zlib';
import {
  RecordParser,
  RemoteError,
  readSyncItems,
  type SyncItem,
  streamId,
  syncBlockHeaderBytes,
  syncLimits,
} from '@codex-remote/protocol/wire';

/** What comes in: items, and the event that ends them. */
export type Incoming = SyncItem | { readonly kind: 'event'; readonly value: unknown };

/**
 * Items out of the pieces of a body. Their bytes are views of memory that nothing else uses. Throws
 * `protocol_error` for what is none, and `stream_cut` where the body ends in the middle of one.
 */
export async function* readItems(
  body: AsyncIterable<Uint8Array>,
  received: (bytes: number) => void = () => undefined,
): AsyncGenerator<Incoming, void, void> {
  const parser = new RecordParser({ split: true });
  const blocks = new Blocks();
  let offset = 0;
  for await (const piece of body) {
    received(piece.byteLength);
    for (const record of parser.push(piece)) {
      if (record.kind === 'event') {
        yield record;
        continue;
      }
      if (record.kind !== 'data' || record.stream !== streamId.content || record.offset !== offset)
        throw new RemoteError('protocol_error', 'the records of a sync are not in order', {
          facts: { field: 'record', value: record.kind },
        });
      offset += record.bytes.byteLength;
      for (const block of blocks.push(record.bytes)) yield* readSyncItems(block);
    }
  }
  if (!parser.atBoundary || !blocks.atBoundary)
    throw new RemoteError('stream_cut', 'a sync ended in the middle of a record');
}

/** Whole blocks out of bytes, unpacked. What is declared is checked before room is made for it. */
class Blocks {
  readonly #header = Buffer.alloc(syncBlockHeaderBytes);
  #headerBytes = 0;
  #body: Buffer = Buffer.alloc(0);
  #bodyBytes = 0;

  get atBoundary(): boolean {
    return this.#headerBytes === 0;
  }

  *push(bytes: Uint8Array): Generator<Uint8Array, void, void> {
    for (let at = 0; at < bytes.byteLength; ) {
      if (this.#headerBytes < syncBlockHeaderBytes) {
        const part = bytes.subarray(at, at + syncBlockHeaderBytes - this.#headerBytes);
        this.#header.set(part, this.#headerBytes);
        this.#headerBytes += part.byteLength;
        at += part.byteLength;
        if (this.#headerBytes === syncBlockHeaderBytes) this.#begin();
        continue;
      }
      const part = bytes.subarray(at, at + this.#body.byteLength - this.#bodyBytes);
      this.#body.set(part, this.#bodyBytes);
      this.#bodyBytes += part.byteLength;
      at += part.byteLength;
      if (this.#bodyBytes < this.#body.byteLength) continue;
      this.#headerBytes = 0;
      yield this.#unpacked();
    }
  }

  #begin(): void {
    const [encoding, raw, length] = this.#declared();
    const allowed = encoding === 0 ? length === raw : encoding === 1 && length < raw;
    if (raw === 0 || raw > syncLimits.maxBlockBytes || length === 0 || !allowed)
      throw new RemoteError('protocol_error', 'a block of a sync is not one', {
        facts: { field: 'block_bytes', value: raw },
      });
    this.#body = Buffer.allocUnsafe(length);
    this.#bodyBytes = 0;
  }

  #declared(): [encoding: number, raw: number, length: number] {
    return [this.#header.readUInt8(0), this.#header.readUInt32BE(1), this.#header.readUInt32BE(5)];
  }

  #unpacked(): Uint8Array {
    const [encoding, raw] = this.#declared();
    if (encoding === 0) return this.#body;
    const unpacked = unpack(this.#body, raw);
    if (unpacked.byteLength !== raw)
      throw new RemoteError('protocol_error', 'a block of a sync is not as long as it says');
    return unpacked;
  }
}

function unpack(bytes: Uint8Array, raw: number): Uint8Array {
  try {
    return zstdDecompressSync(bytes, { maxOutputLength: raw });
  } catch (error) {
    throw new RemoteError('protocol_error', 'a block of a sync cannot be unpacked', {}, error);
  }
}
