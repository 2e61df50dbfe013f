import type { BigIntStats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import {
  encodeRecord,
  frameHeaderBytes,
  maxRecordPayloadBytes,
  recordHeaderBytes,
  recordKind,
  streamId,
  writeRecordHeader,
} from '@codex-remote/protocol/wire';
import { fileError } from './file-error.ts';
import { infoOf, versionOf } from './file-info.ts';
import { openRegular } from './open-regular.ts';
import { changed } from './stat-file.ts';

/** Where records go: a channel, or what a test puts in its place. Waiting for the promises is the back-pressure. */
export interface FileSink {
  write(bytes: Uint8Array): Promise<void>;
  writeFrame(frame: Uint8Array): Promise<void>;
}

export interface ReadOrder {
  readonly path: Buffer;
  /** What it is called where that is another name. */
  readonly shownAs?: Uint8Array;
  readonly from: number;
  readonly maxBytes?: number | undefined;
  /** It must still be this one. */
  readonly version?: string | undefined;
}

/** Read by one trip to the thread pool. */
const framesPerRead = 4;
const headerBytes = frameHeaderBytes + recordHeaderBytes;

/**
 * Sends a regular file from a position on: what it is, its bytes, where they end. Whether it is still what it was is asked
 * after each read and before its bytes go out. Throws `file_changed`, and what `openRegular` throws.
 */
export async function readFile(order: ReadOrder, sink: FileSink): Promise<void> {
  const { path, from, version } = order;
  const { file, stat } = await openRegular('read', path);
  try {
    if (version !== undefined && versionOf(stat) !== version) throw changed('read', path);
    await sink.write(encodeRecord({ kind: 'event', value: { file: infoOf(order.shownAs ?? path, stat) } }));
    const limit = order.maxBytes ?? Number.POSITIVE_INFINITY;
    const next = from + (await new Reading(order, file, stat, sink).send(limit));
    const complete = await isEnd(file, next, stat);
    await sink.write(encodeRecord({ kind: 'event', value: { end: { next, complete } } }));
  } catch (error) {
    throw fileError('read', path, error);
  } finally {
    await file.close();
  }
}

class Reading {
  readonly #path: Buffer;
  readonly #from: number;
  readonly #file: FileHandle;
  readonly #version: string;
  readonly #sink: FileSink;

  constructor({ path, from }: ReadOrder, file: FileHandle, stat: BigIntStats, sink: FileSink) {
    this.#path = path;
    this.#from = from;
    this.#file = file;
    this.#version = versionOf(stat);
    this.#sink = sink;
  }

  /** At most `limit` bytes; gives how many there were. */
  async send(limit: number): Promise<number> {
    for (let sent = 0; ; ) {
      const frames = framesFor(Math.min(limit - sent, framesPerRead * maxRecordPayloadBytes));
      if (frames.length === 0) return sent;
      const payload = frames.map((frame) => frame.subarray(headerBytes));
      const { bytesRead } = await this.#file.readv(payload, this.#from + sent);
      if (versionOf(await this.#file.stat({ bigint: true })) !== this.#version)
        throw changed('read', this.#path);
      if (bytesRead === 0) return sent;
      await this.#sendFrames(frames, this.#from + sent, bytesRead);
      sent += bytesRead;
    }
  }

  async #sendFrames(frames: readonly Uint8Array[], offset: number, bytes: number): Promise<void> {
    let sent = 0;
    for (const frame of frames) {
      const length = Math.min(bytes - sent, frame.byteLength - headerBytes);
      if (length === 0) return;
      writeRecordHeader(frame, frameHeaderBytes, recordKind.data, streamId.content, length, offset + sent);
      await this.#sink.writeFrame(frame.subarray(0, headerBytes + length));
      sent += length;
    }
  }
}

/** Files of the kernel say that they are empty, and have more: they are asked. */
async function isEnd(file: FileHandle, at: number, { size }: BigIntStats): Promise<boolean> {
  if (size > 0n) return BigInt(at) >= size;
  return (await file.read(Buffer.alloc(1), 0, 1, at)).bytesRead === 0;
}

function framesFor(bytes: number): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let left = bytes; left > 0; left -= maxRecordPayloadBytes)
    frames.push(Buffer.allocUnsafe(headerBytes + Math.min(left, maxRecordPayloadBytes)));
  return frames;
}
