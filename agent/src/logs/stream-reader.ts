import { closeSync, fstatSync, readSync, readv } from 'node:fs';
import {
  encodeRecord,
  frameHeaderBytes,
  maxRecordPayloadBytes,
  recordHeaderBytes,
  recordKind,
  streamId,
  writeRecordHeader,
} from '@codex-remote/protocol/wire';
import type { ExecFolder } from '../folder/folder.ts';
import type { LogName } from '../folder/released.ts';
import { openLog } from './log-file.ts';
import { type LogRange, rangeOf, type StreamSelection } from './range.ts';
import { TimeSamples } from './time-samples.ts';

/** Where records go: a channel, or what a test puts in its place. Waiting for the promises is the back-pressure. */
export interface RecordSink {
  write(bytes: Uint8Array): Promise<void>;
  writeFrame(frame: Uint8Array): Promise<void>;
}

/** Read by one trip to the thread pool. */
const framesPerRead = 4;

/** Sends one log of one exec from a position on. Holds a descriptor: the owner closes it. */
export class StreamReader {
  readonly #folder: ExecFolder;
  readonly #name: LogName;
  readonly #stream: number;
  readonly #fd: number;
  readonly #samples: TimeSamples;
  /** Not beyond this, when there is a limit. */
  readonly #end: number;
  #position: number;
  /** Everything before this has been dated, or is not sent. */
  #dated: number;
  #truncated = false;

  private constructor(folder: ExecFolder, name: LogName, fd: number, range: LogRange) {
    this.#folder = folder;
    this.#name = name;
    this.#stream = streamId[name];
    this.#fd = fd;
    this.#position = range.from;
    this.#dated = range.from;
    this.#end = range.end;
    this.#samples = new TimeSamples(folder.path, this.#stream);
    this.#samples.seekBehind((sample) => sample.offset <= range.from);
  }

  /** Throws `log_gone`, `log_type`, `fds_exhausted`. `inode`: of the file that was made for the exec. */
  static async open(
    folder: ExecFolder,
    name: LogName,
    select: StreamSelection,
    inode: number | undefined,
  ): Promise<StreamReader> {
    const fd = openLog(folder.file(name), inode);
    try {
      const floor = folder.released.of(name);
      const log = { fd, folder: folder.path, stream: streamId[name], floor };
      return new StreamReader(folder, name, fd, await rangeOf(log, select));
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** A data record of no bytes: where this stream begins. A reader that knows it can resume by offset from here on. */
  beginning(): Uint8Array {
    return encodeRecord({
      kind: 'data',
      stream: this.#stream,
      offset: this.#position,
      bytes: new Uint8Array(0),
    });
  }

  /**
   * Sends the next piece, of at most `budget` payload bytes; returns how many were sent. 0: nothing more is there now.
   * What is gone is sent as a gap. Rejects with what the sink rejects with.
   */
  async send(sink: RecordSink, budget: number): Promise<number> {
    for (;;) {
      await this.#sendReleased(sink);
      const { size, mtimeMs } = fstatSync(this.#fd);
      const end = Math.min(size, this.#end);
      if (size < this.#position) return this.#sendTruncated(sink);
      const wanted = Math.min(end - this.#position, budget, framesPerRead * maxRecordPayloadBytes);
      if (wanted <= 0) return 0;
      const frames = framesFor(wanted);
      const payload = frames.map((frame) => frame.subarray(frameHeaderBytes + recordHeaderBytes));
      const read = await readAt(this.#fd, payload, this.#position);
      // Released meanwhile: what was read may be the zeros of a hole.
      if (this.#released > this.#position) continue;
      const start = this.#position;
      this.#position += read;
      const times = this.#timesUpTo(this.#position, this.#position === end ? mtimeMs : undefined);
      if (times) await sink.write(times);
      await this.#sendFrames(sink, frames, start, read);
      return read;
    }
  }

  /** There is more by now, or the file has shrunk. */
  get hasMore(): boolean {
    const { size } = fstatSync(this.#fd);
    return Math.min(size, this.#end) > this.#position || (size < this.#position && !this.#truncated);
  }

  close(): void {
    closeSync(this.#fd);
    this.#samples.close();
  }

  /** Everything before it is gone, as far as it was asked for. */
  get #released(): number {
    return Math.min(this.#folder.released.of(this.#name), this.#end);
  }

  async #sendReleased(sink: RecordSink): Promise<void> {
    const offset = this.#position;
    const missing = this.#released - offset;
    if (missing <= 0) return;
    this.#position += missing;
    await sink.write(encodeRecord({ kind: 'gap', stream: this.#stream, offset, missing }));
  }

  /** The records in `frames`, of `bytes` payload bytes in all, that begin at `offset`. */
  async #sendFrames(
    sink: RecordSink,
    frames: readonly Uint8Array[],
    offset: number,
    bytes: number,
  ): Promise<void> {
    const header = frameHeaderBytes + recordHeaderBytes;
    for (let sent = 0, i = 0; sent < bytes; i++) {
      const frame = frames[i];
      if (!frame) break;
      const length = Math.min(bytes - sent, frame.byteLength - header);
      writeRecordHeader(frame, frameHeaderBytes, recordKind.data, this.#stream, length, offset + sent);
      await sink.writeFrame(frame.subarray(0, header + length));
      sent += length;
    }
  }

  /**
   * The samples between what was dated and `offset`, and the first one at or after it. Where there is none yet, the time
   * of the last write: everything up to the end of the file had been written by then.
   */
  #timesUpTo(offset: number, lastWriteMs: number | undefined): Uint8Array | undefined {
    const records: Uint8Array[] = [];
    while (this.#dated < offset) {
      const sample = this.#samples.next();
      if (!sample) break;
      if (sample.offset <= this.#dated) continue;
      this.#dated = sample.offset;
      records.push(encodeRecord({ kind: 'time', ...sample }));
    }
    if (this.#dated < offset && lastWriteMs !== undefined) {
      this.#dated = offset;
      records.push(encodeRecord({ kind: 'time', stream: this.#stream, offset, epochMs: lastWriteMs }));
    }
    return records.length > 0 ? Buffer.concat(records) : undefined;
  }

  /** Someone cut the file: said once, and reading goes on where it was when there is more again, never at 0. */
  async #sendTruncated(sink: RecordSink): Promise<number> {
    if (this.#truncated) return 0;
    this.#truncated = true;
    await sink.write(encodeRecord({ kind: 'gap', stream: this.#stream, offset: this.#position, missing: 0 }));
    return 0;
  }
}

function framesFor(bytes: number): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let left = bytes; left > 0; left -= maxRecordPayloadBytes) {
    const payload = Math.min(left, maxRecordPayloadBytes);
    frames.push(Buffer.allocUnsafe(frameHeaderBytes + recordHeaderBytes + payload));
  }
  return frames;
}

/** Smaller than this and a trip to the thread pool costs more than the read. */
const syncReadBytes = 16 * 1024;

function readAt(fd: number, buffers: Uint8Array[], position: number): Promise<number> {
  const [only] = buffers;
  if (only && buffers.length === 1 && only.byteLength <= syncReadBytes) {
    return Promise.resolve(readSync(fd, only, 0, only.byteLength, position));
  }
  return new Promise((resolve, reject) => {
    readv(fd, buffers, position, (error, read) => (error ? reject(error) : resolve(read)));
  });
}
