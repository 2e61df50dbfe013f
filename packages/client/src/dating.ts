import type { OutputRecord } from './follow.ts';

type Placed = Exclude<OutputRecord, { kind: 'time' }>;

/** Output that waits for its time is passed on without when it grows beyond this. */
const maxHeldBytes = 1024 * 1024;

/** The last time that there is a date for (ECMA-262, "Time Values"). What a machine says of later ones is no time. */
const maxEpochMs = 8.64e15;

interface Sample {
  /** Everything of the stream before this offset had been written … */
  readonly offset: number;
  /** … by then. */
  readonly iso: string;
}

/**
 * Gives each place in a stream the time when it had been written, from the time records around it, which may come before
 * or after the bytes they date. Holds bytes back until their time is known; one per stream.
 */
export class Dating {
  #samples: Sample[] = [];
  #held: Placed[] = [];
  #heldBytes = 0;
  #last = '';

  /** The records that can be given on, in order. */
  push(record: OutputRecord): Placed[] {
    if (record.kind === 'time') {
      if (record.epochMs <= maxEpochMs)
        this.#samples.push({ offset: record.offset, iso: new Date(record.epochMs).toISOString() });
    } else {
      this.#held.push(record);
      this.#heldBytes += record.kind === 'data' ? record.bytes.byteLength : 0;
    }
    if (this.#heldBytes > maxHeldBytes) return this.release();
    const known = this.#samples.at(-1)?.offset ?? 0;
    const ready = this.#held.findIndex((held) => endOf(held) > known);
    return this.#give(ready === -1 ? this.#held.length : ready);
  }

  /** Everything that is held, though its time is not known: the reader has waited long enough. */
  release(): Placed[] {
    return this.#give(this.#held.length);
  }

  get holds(): boolean {
    return this.#held.length > 0;
  }

  /** The time by which the byte before `offset` had been written, else the latest known, else `fallback`. Offsets only grow. */
  at(offset: number, fallback: () => string): string {
    let sample = this.#samples[0];
    while (sample !== undefined && sample.offset < offset) {
      this.#last = sample.iso;
      this.#samples.shift();
      sample = this.#samples[0];
    }
    return sample === undefined ? this.#last || fallback() : sample.iso;
  }

  #give(count: number): Placed[] {
    if (count === 0) return [];
    const given = this.#held.splice(0, count);
    for (const record of given) this.#heldBytes -= record.kind === 'data' ? record.bytes.byteLength : 0;
    return given;
  }
}

function endOf(record: Placed): number {
  return record.offset + (record.kind === 'gap' ? record.missing : record.bytes.byteLength);
}
