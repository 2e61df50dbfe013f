import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';

/** Everything of the stream before `offset` had been written by `epochMs`. */
export interface TimeSample {
  readonly stream: number;
  readonly offset: number;
  readonly epochMs: number;
}

/** In the file `times`, in the order of writing: stream f64, offset f64, epoch ms f64, big endian. */
export const sampleBytes = 24;

export function encodeSample(sample: TimeSample): Uint8Array {
  const view = new DataView(new ArrayBuffer(sampleBytes));
  view.setFloat64(0, sample.stream);
  view.setFloat64(8, sample.offset);
  view.setFloat64(16, sample.epochMs);
  return new Uint8Array(view.buffer);
}

/** The last time that there is a date for. */
const maxEpochMs = 8.64e15;

const chunkSamples = 1024;
/** Read by one look of the binary search: a stream's next sample is most often among so many. */
const probeSamples = 64;

/**
 * Reads the samples of one stream as they are appended, in offset order: each call of `next` gives the next one there is
 * by now, or undefined. Holds one small block; the owner closes it.
 */
export class TimeSamples {
  readonly #path: string;
  readonly #stream: number;
  // Node 24 refuses a DataView here once its code is optimised.
  readonly #bytes = new Uint8Array(sampleBytes * chunkSamples);
  readonly #block = new DataView(this.#bytes.buffer);
  #fd: number | undefined;
  #position = 0;
  #have = 0;
  #at = 0;
  #lastOffset = -1;

  constructor(folder: string, stream: number) {
    this.#path = join(folder, 'times');
    this.#stream = stream;
  }

  next(): TimeSample | undefined {
    for (;;) {
      if (this.#at + sampleBytes > this.#have && !this.#read()) return undefined;
      const sample = this.#sampleAt(this.#block, this.#at);
      this.#at += sampleBytes;
      if (!sample || sample.offset <= this.#lastOffset) continue;
      this.#lastOffset = sample.offset;
      return sample;
    }
  }

  /**
   * The last sample for which `isBefore` holds, or undefined; `next` goes on behind it. `isBefore` holds for the first
   * samples of the stream up to a place and for none after it. A binary search: weeks of samples take a few reads.
   */
  seekBehind(isBefore: (sample: TimeSample) => boolean): TimeSample | undefined {
    this.#fd ??= openIfThere(this.#path);
    const fd = this.#fd;
    if (fd === undefined) return undefined;
    let low = 0;
    let high = Math.floor(fstatSync(fd).size / sampleBytes);
    let last: TimeSample | undefined;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const found = this.#firstOf(fd, middle, high);
      if (found && isBefore(found.sample)) {
        last = found.sample;
        low = found.index + 1;
      } else {
        high = middle;
      }
    }
    this.#position = low * sampleBytes;
    this.#have = 0;
    this.#at = 0;
    this.#lastOffset = last?.offset ?? -1;
    return last;
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** The stream's first sample with an index from `index` to before `end`. */
  #firstOf(fd: number, index: number, end: number): { index: number; sample: TimeSample } | undefined {
    for (let at = index; at < end; ) {
      const wanted = Math.min(probeSamples, end - at) * sampleBytes;
      const read = readSync(fd, this.#bytes, 0, wanted, at * sampleBytes);
      for (let byte = 0; byte + sampleBytes <= read; byte += sampleBytes) {
        const sample = this.#sampleAt(this.#block, byte);
        if (sample) return { index: at + byte / sampleBytes, sample };
      }
      if (read < wanted) return undefined;
      at += probeSamples;
    }
    return undefined;
  }

  /** Undefined for another stream's and for what is not ours. */
  #sampleAt(block: DataView, at: number): TimeSample | undefined {
    const stream = block.getFloat64(at);
    const offset = block.getFloat64(at + 8);
    const epochMs = block.getFloat64(at + 16);
    const valid =
      stream === this.#stream &&
      Number.isSafeInteger(offset) &&
      offset >= 0 &&
      epochMs >= 0 &&
      epochMs <= maxEpochMs;
    return valid ? { stream, offset, epochMs } : undefined;
  }

  /** False when there is no further whole sample: a torn one at the end is read again when it has grown. */
  #read(): boolean {
    this.#fd ??= openIfThere(this.#path);
    if (this.#fd === undefined) return false;
    const read = readSync(this.#fd, this.#bytes, 0, this.#bytes.byteLength, this.#position);
    const whole = read - (read % sampleBytes);
    this.#position += whole;
    this.#have = whole;
    this.#at = 0;
    return whole > 0;
  }
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch {
    return undefined;
  }
}

/**
 * How far the stream had come at `epochMs`: the offset of the last sample before it. Lines that end after it are dated
 * at or after `epochMs`.
 */
export function offsetAtTime(folder: string, stream: number, epochMs: number): number {
  const samples = new TimeSamples(folder, stream);
  try {
    return samples.seekBehind((sample) => sample.epochMs < epochMs)?.offset ?? 0;
  } finally {
    samples.close();
  }
}
