import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';

/** Everything of the stream before `offset` had been written by `epochMs`. */
export interface TimeSample {
  readonly stream: number;
  readonly offset: number;
  readonly epochMs: number;
}

/** In the file `times`, in the order of writing: stream f64, offset f64, epoch ms f64, big endian. */
const sampleBytes = 24;

export function encodeSample(sample: TimeSample): Uint8Array {
  const view = new DataView(new ArrayBuffer(sampleBytes));
  view.setFloat64(0, sample.stream);
  view.setFloat64(8, sample.offset);
  view.setFloat64(16, sample.epochMs);
  return new Uint8Array(view.buffer);
}

const chunkSamples = 1024;

/**
 * Reads the samples of one stream as they are appended, in offset order: each call of `next` gives the next one there is
 * by now, or undefined. Holds one small block; the owner closes it.
 */
export class TimeSamples {
  readonly #path: string;
  readonly #stream: number;
  readonly #block = new DataView(new ArrayBuffer(sampleBytes * chunkSamples));
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
      const at = this.#at;
      this.#at += sampleBytes;
      const sample = {
        stream: this.#block.getFloat64(at),
        offset: this.#block.getFloat64(at + 8),
        epochMs: this.#block.getFloat64(at + 16),
      };
      const valid = Number.isSafeInteger(sample.offset) && Number.isFinite(sample.epochMs);
      if (!valid || sample.stream !== this.#stream || sample.offset <= this.#lastOffset) continue;
      this.#lastOffset = sample.offset;
      return sample;
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** False when there is no further whole sample: a torn one at the end is read again when it has grown. */
  #read(): boolean {
    this.#fd ??= openIfThere(this.#path);
    if (this.#fd === undefined) return false;
    const read = readSync(this.#fd, this.#block, 0, this.#block.byteLength, this.#position);
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
  let offset = 0;
  try {
    for (let sample = samples.next(); sample; sample = samples.next()) {
      if (sample.epochMs < epochMs) offset = sample.offset;
    }
    return offset;
  } finally {
    samples.close();
  }
}
