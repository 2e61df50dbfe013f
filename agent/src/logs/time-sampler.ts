import { appendFileSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { type Clock, streamId, type Timer } from '@codex-remote/protocol/wire';
import { encodeSample, sampleBytes, type TimeSample } from './time-samples.ts';

/** Shortest time between two samples of a stream: the resolution of `ts`. */
const sampleMs = 100;
/** After so many samples (ten minutes of output without a pause) the resolution becomes a second. */
const fineSamples = 6_000;
const coarseSampleMs = 1_000;
/** After so many samples the other stream's last one is written again: a search never crosses more to find one. */
const repeatSamples = 512;

/** Notes, while the agent watches, how far each log had come at what time. Its owner closes it. */
export class TimeSampler {
  readonly #folder: string;
  readonly #clock: Clock;
  readonly #streams = { stdout: new Watched(), stderr: new Watched() };
  #written = 0;
  #closed = false;

  constructor(folder: string, clock: Clock) {
    this.#folder = folder;
    this.#clock = clock;
  }

  /** Something was written to the stream: sampled at once, or when its pause is over. */
  touch(stream: 'stdout' | 'stderr'): void {
    const watched = this.#streams[stream];
    if (this.#closed) return;
    if (watched.pause) {
      watched.touched = true;
      return;
    }
    this.#sample(stream, watched);
    const ms = this.#written > fineSamples ? coarseSampleMs : sampleMs;
    watched.pause = this.#clock.setTimer(ms, () => {
      watched.pause = undefined;
      if (!watched.touched) return;
      watched.touched = false;
      this.touch(stream);
    });
  }

  /** A last sample of what has grown since, and no more. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const stream of ['stdout', 'stderr'] as const) {
      const watched = this.#streams[stream];
      watched.pause?.cancel();
      if (watched.touched) this.#sample(stream, watched);
    }
  }

  #sample(stream: 'stdout' | 'stderr', watched: Watched): void {
    // The time first: everything before the size had been written by the time after it was read.
    const size = statSync(join(this.#folder, stream), { throwIfNoEntry: false })?.size ?? 0;
    const epochMs = this.#clock.wall();
    if (size <= watched.offset) return;
    watched.offset = size;
    watched.last = { stream: streamId[stream], offset: size, epochMs };
    const other = this.#streams[stream === 'stdout' ? 'stderr' : 'stdout'].last;
    this.#append(watched.last);
    if (other && this.#written % repeatSamples === 0) this.#append(other);
  }

  #append(sample: TimeSample): void {
    const path = join(this.#folder, 'times');
    try {
      appendFileSync(path, encodeSample(sample), { mode: 0o600 });
      this.#written++;
    } catch {
      // A full disk: lines are dated by a later sample, which begins where a whole one ends.
      this.#dropTorn(path);
    }
  }

  #dropTorn(path: string): void {
    try {
      const { size } = statSync(path);
      truncateSync(path, size - (size % sampleBytes));
    } catch {
      // There is none.
    }
  }
}

class Watched {
  offset = 0;
  last: TimeSample | undefined;
  touched = false;
  /** Runs between two samples. */
  pause: Timer | undefined;
}
