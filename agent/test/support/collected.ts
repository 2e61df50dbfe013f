import { type ExecRecord, frameHeaderBytes, RecordParser, streamId } from '@codex-remote/protocol/wire';
import { expect } from 'vitest';
import type { RecordSink } from '../../src/logs/stream-reader.ts';

/** Takes records as a channel would; `stalled` holds every write back until it is released. */
export class Collected implements RecordSink {
  readonly records: ExecRecord[] = [];
  readonly gone = Promise.withResolvers<void>();
  gate: Promise<void> | undefined;
  writes = 0;
  readonly #parser = new RecordParser();

  async write(bytes: Uint8Array): Promise<void> {
    this.writes++;
    // Records are views into what was pushed, which the reader may use again.
    this.records.push(...this.#parser.push(bytes.slice()));
    await this.gate;
  }

  writeFrame(frame: Uint8Array): Promise<void> {
    return this.write(frame.subarray(frameHeaderBytes));
  }

  text(stream: 'stdout' | 'stderr' = 'stdout'): string {
    return this.bytes(stream).toString('latin1');
  }

  bytes(stream: 'stdout' | 'stderr' = 'stdout'): Buffer {
    return Buffer.concat(this.data(stream).map((record) => record.bytes));
  }

  data(stream: 'stdout' | 'stderr') {
    return this.records.flatMap((record) =>
      record.kind === 'data' && record.stream === streamId[stream] ? [record] : [],
    );
  }

  /** Offsets follow each other without a gap or a double. */
  expectWhole(stream: 'stdout' | 'stderr', from: number): void {
    let at = from;
    for (const record of this.data(stream)) {
      expect(record.offset).toBe(at);
      at += record.bytes.byteLength;
    }
  }
}
