import type { FileHandle } from 'node:fs/promises';
import { RemoteError, syncJsonItem, syncLimits } from '@codex-remote/protocol/wire';
import { type Entry, ManifestEncoder, type TreeReader } from '../tree/index.ts';
import { ContentMac, newMacKey } from './content-mac.ts';
import { deltaOf, KnownChunks } from './delta.ts';
import type { Incoming } from './item-reader.ts';
import type { ItemWriter } from './item-writer.ts';
import { Wake } from './wake.ts';

/** Files of a tree that was told. */
export type SourceFiles = Pick<TreeReader, 'readSmall' | 'openFile' | 'isSame'>;

export interface SourceProgress {
  /** Names that were told. */
  entries: number;
  files: number;
  bytes: number;
  /** Asked for so far. */
  filesWanted: number;
  bytesWanted: number;
}

interface Want {
  readonly index: number;
  readonly entry: Entry;
  readonly from: number;
  readonly chunks: KnownChunks | undefined;
}

/** A piece of a manifest that is worth a block of its own: the other side compares while we look. */
const pieceBytes = 32 * 1024;

/**
 * Tells a tree and sends what is asked for of it. What it holds is bounded: entries that were told and not yet compared, and
 * files that were asked for. It can be asked for nothing but what it told: a want names an entry by its place.
 */
export class Source {
  readonly progress: SourceProgress = { entries: 0, files: 0, bytes: 0, filesWanted: 0, bytesWanted: 0 };
  readonly #entries: AsyncIterable<readonly Entry[]>;
  readonly #files: SourceFiles;
  readonly #out: ItemWriter;
  readonly #changed: () => void;
  readonly #wake = new Wake();
  /** By place; told and not yet compared. */
  readonly #told = new Map<number, Entry>();
  #compared = 0;
  #wants: Want[] = [];
  #chunks: KnownChunks | undefined;
  #done: unknown;
  #result: { readonly value: unknown } | undefined;
  #failure: RemoteError | undefined;

  /** `changed`: called when `progress` did. */
  constructor(
    entries: AsyncIterable<readonly Entry[]>,
    files: SourceFiles,
    out: ItemWriter,
    changed: () => void = () => undefined,
  ) {
    this.#entries = entries;
    this.#files = files;
    this.#out = out;
    this.#changed = changed;
  }

  /** What the target last said that it has done; undefined before it said anything. */
  get done(): unknown {
    return this.#result?.value ?? this.#done;
  }

  /** Until the target has said its result, which this gives. Throws what ended `incoming`, and `protocol_error`. */
  async run(incoming: AsyncIterable<Incoming>, report: (value: unknown) => void): Promise<unknown> {
    const listening = this.#listen(incoming, report).catch((error: unknown) => {
      this.#failure = RemoteError.from(error);
      this.#wake.call();
    });
    await this.#tell();
    await listening;
    return this.#result?.value;
  }

  /** What follows the result is left to whoever reads on. */
  async #listen(incoming: AsyncIterable<Incoming>, report: (value: unknown) => void): Promise<void> {
    const items = incoming[Symbol.asyncIterator]();
    for (let next = await items.next(); !next.done; next = await items.next()) {
      const item = next.value;
      if (item.kind === 'want') this.#want(item.index, item.from);
      else if (item.kind === 'compared') this.#forget(item.count);
      else if (item.kind === 'chunks') this.#know(item.bytes);
      else if (item.kind === 'report') report(item.value);
      else if (item.kind === 'progress') this.#done = item.value;
      else if (item.kind === 'result') this.#result = { value: item.value };
      else throw new RemoteError('protocol_error', `a target says ${item.kind}`);
      this.#wake.call();
      if (this.#result) return;
    }
    throw new RemoteError('stream_cut', 'a sync ended without its result');
  }

  #want(index: number, from: number): void {
    const entry = this.#told.get(index);
    if (entry?.type !== 'file' || from > entry.size)
      throw new RemoteError('protocol_error', 'a target wants what it was not told of');
    // Once each: it cannot make us send without end.
    this.#told.delete(index);
    this.#wants.push({ index, entry, from, chunks: this.#chunks });
    this.#chunks = undefined;
    this.progress.filesWanted += 1;
    this.progress.bytesWanted += entry.size - from;
  }

  /** Of the file that is asked for next. */
  #know(chunks: Uint8Array): void {
    this.#chunks ??= new KnownChunks();
    this.#chunks.add(chunks);
  }

  #forget(count: number): void {
    if (count < this.#compared || count > this.progress.entries)
      throw new RemoteError('protocol_error', 'a target has compared what it was not told of');
    for (let index = this.#compared; index < count; index++) this.#told.delete(index);
    this.#compared = count;
  }

  async #tell(): Promise<void> {
    const encoder = new ManifestEncoder();
    const batches = this.#entries[Symbol.asyncIterator]();
    let ended = false;
    try {
      for (;;) {
        if (this.#failure) throw this.#failure;
        if (this.#result) return;
        const want = this.#wants.shift();
        if (want) await this.#serve(want);
        else if (!ended && this.#mayTell()) {
          const next = await batches.next();
          ended = next.done === true;
          await (next.done ? this.#write('entries_end', encoder.end()) : this.#tellSome(encoder, next.value));
        } else await this.#wait();
        this.#changed();
      }
    } finally {
      await batches.return?.();
    }
  }

  #mayTell(): boolean {
    return this.progress.entries - this.#compared < syncLimits.maxEntriesAhead;
  }

  async #tellSome(encoder: ManifestEncoder, entries: readonly Entry[]): Promise<void> {
    for (const entry of entries) this.#told.set(this.progress.entries++, entry);
    await this.#write('entries', encoder.encode(entries));
  }

  async #write(kind: 'entries' | 'entries_end', bytes: Uint8Array): Promise<void> {
    for (let at = 0; at === 0 || at < bytes.byteLength; at += syncLimits.maxDataBytes)
      await this.#out.put({ kind, bytes: bytes.subarray(at, at + syncLimits.maxDataBytes) });
    if (this.#out.pendingBytes >= pieceBytes) void this.#out.flush();
  }

  /** What is not on its way yet is what the other side may wait for. */
  async #wait(): Promise<void> {
    const woken = this.#wake.wait();
    await this.#out.flush();
    await woken;
  }

  async #serve(want: Want): Promise<void> {
    const { entry, index, from, chunks } = want;
    try {
      if (entry.size <= syncLimits.maxSmallBytes && from === 0 && !chunks) {
        const bytes = this.#files.readSmall(entry);
        await this.#out.put({ kind: 'small', index, bytes });
        this.progress.bytes += bytes.byteLength;
      } else await this.#serveLarge(want);
      this.progress.files += 1;
    } catch (error) {
      if (this.#failure) throw this.#failure;
      await this.#lose(want, RemoteError.from(error));
    }
  }

  async #lose({ index, from }: Want, failure: RemoteError): Promise<void> {
    const { code, message } = failure;
    await this.#out.putEncoded(syncJsonItem('lost', { index, from, code, message: message.slice(0, 1000) }));
  }

  async #serveLarge({ entry, index, from, chunks }: Want): Promise<void> {
    const file = await this.#files.openFile(entry);
    try {
      const key = newMacKey();
      await this.#out.put({ kind: 'file', index, from, key });
      const mac = new ContentMac(key);
      const pieces = chunks ? deltaOf(file, entry.size, chunks) : wholeOf(file, entry.size);
      let at = 0;
      for await (const piece of pieces) {
        mac.update(piece.bytes);
        const skipped = Math.max(0, Math.min(from - at, piece.bytes.byteLength));
        const rest = piece.bytes.subarray(skipped);
        if (rest.byteLength > 0) {
          await (piece.copy === undefined
            ? this.#out.put({ kind: 'data', bytes: rest })
            : this.#out.put({ kind: 'copy', offset: piece.copy + skipped, length: rest.byteLength }));
          this.progress.bytes += rest.byteLength;
          this.#changed();
        }
        at += piece.bytes.byteLength;
      }
      if (at !== entry.size || !(await this.#files.isSame(entry, file)))
        throw new RemoteError('file_changed', 'it was changed while it was read');
      await this.#out.put({ kind: 'end', mac: mac.digest() });
    } finally {
      await file.close();
    }
  }
}

/** The bytes of a file, each piece good until the next. `copy`: the target has them, there. */
export interface Piece {
  readonly bytes: Uint8Array;
  readonly copy?: number;
}

/** Read by one trip to the thread pool: each costs as much as its bytes. */
const readBytes = 1024 * 1024;

/** Reads ahead by so much. */
async function* wholeOf(file: FileHandle, size: number): AsyncGenerator<Piece, void, void> {
  const room = Math.min(readBytes, size);
  const buffers = [Buffer.allocUnsafe(room), Buffer.allocUnsafe(room)];
  const read = (at: number, turn: number) => {
    const buffer = buffers[turn % 2] ?? Buffer.alloc(0);
    return file.read(buffer, 0, Math.min(buffer.byteLength, size - at), at);
  };
  let next = read(0, 0);
  for (let [at, turn] = [0, 1]; at < size; turn++) {
    const { bytesRead, buffer } = await next;
    if (bytesRead === 0) return;
    at += bytesRead;
    if (at < size) {
      next = read(at, turn);
      // It may be given up before it is looked at.
      next.catch(() => undefined);
    }
    for (let given = 0; given < bytesRead; given += syncLimits.maxDataBytes)
      yield { bytes: buffer.subarray(given, Math.min(bytesRead, given + syncLimits.maxDataBytes)) };
  }
}
