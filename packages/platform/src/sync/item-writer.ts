import { constants, zstdCompressSync } from 'node:zlib';
import {
  encodeRecord,
  maxRecordPayloadBytes,
  recordHeaderBytes,
  recordKind,
  type SyncItem,
  streamId,
  syncBlockHeaderBytes,
  syncItemBytes,
  syncLimits,
  writeRecordHeader,
  writeSyncItem,
} from '@codex-remote/protocol/wire';

/** Fast enough to be worth it on any link: what is sent passes three processes. */
const compression = { params: { [constants.ZSTD_c_compressionLevel]: 1 } } as const;
/** A smaller block is sent as it is. */
const minCompressedBytes = 256;
/** Records of the largest block. */
const maxRecordsBytes =
  syncBlockHeaderBytes +
  syncLimits.maxBlockBytes +
  recordHeaderBytes * Math.ceil((syncBlockHeaderBytes + syncLimits.maxBlockBytes) / maxRecordPayloadBytes);
/** Room for records that is used again: one block is filled while another goes out. */
const maxFree = 2;
/** After a block that did not become smaller so many are sent as they are. */
const blocksBetweenTries = 15;

/**
 * Where bytes go; they are the writer's again when the promise resolves. Waiting for it is the back-pressure; it rejects with
 * what ended the conversation.
 */
export type Send = (bytes: Uint8Array) => Promise<void>;

/**
 * Items on their way out, in blocks, as records. Anyone may write between two awaits; order is that of the calls. What was
 * written and fills no block goes out with `flush`.
 */
export class ItemWriter {
  readonly #send: Send;
  #block = Buffer.allocUnsafe(syncLimits.maxBlockBytes);
  #used = 0;
  /** Made anew for each block it would be memory that nobody collects for a long time. */
  readonly #free: Buffer[] = [];
  /** Position in the stream of blocks. */
  #offset = 0;
  /** All blocks, and all but the last: one is filled while another goes out. */
  #last: Promise<void> = Promise.resolve();
  #before: Promise<void> = this.#last;
  #skip = 0;

  constructor(send: Send) {
    this.#send = send;
  }

  /** Bytes of blocks so far. */
  get sentBytes(): number {
    return this.#offset;
  }

  /** Written and not on its way yet. */
  get pendingBytes(): number {
    return this.#used;
  }

  /** Its bytes are copied. Resolves when there is room for more. */
  put(item: SyncItem): Promise<void> {
    const room = this.#room(syncItemBytes(item));
    this.#used = writeSyncItem(this.#block, this.#used, item);
    return room;
  }

  /** One that `syncJsonItem` made. */
  putEncoded(item: Uint8Array): Promise<void> {
    const room = this.#room(item.byteLength);
    this.#block.set(item, this.#used);
    this.#used += item.byteLength;
    return room;
  }

  flush(): Promise<void> {
    if (this.#used > 0) this.#sendBlock();
    return this.#last;
  }

  /** The last record, an event; the caller then ends what carries it. */
  async finish(value: object): Promise<void> {
    await this.flush();
    await this.#send(encodeRecord({ kind: 'event', value }));
  }

  #room(bytes: number): Promise<void> {
    if (this.#used + bytes > this.#block.byteLength) this.#sendBlock();
    return this.#before;
  }

  #sendBlock(): void {
    const room = this.#free.pop() ?? Buffer.allocUnsafe(maxRecordsBytes);
    const records = this.#records(this.#block.subarray(0, this.#used), room);
    this.#used = 0;
    // Blocks go out one behind the other, whoever waits for which.
    this.#before = this.#last;
    this.#last = this.#last.then(async () => {
      await this.#send(records);
      if (this.#free.length < maxFree) this.#free.push(room);
    });
    // Who writes or flushes next gets it.
    this.#last.catch(() => undefined);
  }

  /** The block with its header, cut into records, in `room`. */
  #records(raw: Uint8Array, room: Buffer): Uint8Array {
    const packed = this.#packed(raw);
    const payload = packed ?? raw;
    const total = syncBlockHeaderBytes + payload.byteLength;
    const count = Math.ceil(total / maxRecordPayloadBytes);
    const records = room.subarray(0, total + count * recordHeaderBytes);
    let at = 0;
    let taken = 0;
    for (let left = total; left > 0; ) {
      const length = Math.min(left, maxRecordPayloadBytes);
      writeRecordHeader(records, at, recordKind.data, streamId.content, length, this.#offset);
      at += recordHeaderBytes;
      let body = length;
      if (left === total) {
        records.writeUInt8(packed ? 1 : 0, at);
        records.writeUInt32BE(raw.byteLength, at + 1);
        records.writeUInt32BE(payload.byteLength, at + 5);
        at += syncBlockHeaderBytes;
        body -= syncBlockHeaderBytes;
      }
      records.set(payload.subarray(taken, taken + body), at);
      taken += body;
      at += body;
      left -= length;
      this.#offset += length;
    }
    return records;
  }

  #packed(raw: Uint8Array): Uint8Array | undefined {
    if (raw.byteLength < minCompressedBytes || this.#skip-- > 0) return undefined;
    this.#skip = 0;
    const packed = zstdCompressSync(raw, compression);
    if (packed.byteLength < raw.byteLength * 0.95) return packed;
    this.#skip = blocksBetweenTries;
    return undefined;
  }
}
