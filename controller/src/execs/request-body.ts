import { maxSpecBytes } from '@codex-remote/protocol/schema';
import {
  maxRecordPayloadBytes,
  RecordParser,
  RemoteError,
  recordHeaderBytes,
  streamId,
} from '@codex-remote/protocol/wire';

/** A body up to this size is kept so that it can be sent again when the connection breaks. */
export const maxReplayBytes = 1024 * 1024;

/**
 * A start's body on its way to the machine, replayable while it is small. A start is idempotent by its id, so that
 * sending the whole body once more on the next connection is harmless.
 */
export class RequestBody {
  readonly #source: AsyncIterator<Uint8Array>;
  #kept: Uint8Array[] | undefined = [];
  #keptBytes = 0;
  #keepBytes = maxReplayBytes;
  /** The piece that comes next. A reader that was given up may still wait for it: the one after it gets the same. */
  #next: Promise<Uint8Array | undefined> | undefined;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** False once more was taken than is kept: the body cannot be sent from its beginning again. */
  get replayable(): boolean {
    return this.#kept !== undefined;
  }

  /**
   * The spec, which begins every body; what is read for it is read again by `read`. Throws `protocol_error`, `too_large`, and
   * `cancelled` as `read` does. Not after `read`.
   */
  spec(): Promise<Uint8Array> {
    return this.#stream('spec', maxSpecBytes);
  }

  /** The script, which follows the spec; as `spec`. */
  script(): Promise<Uint8Array> {
    return this.#stream('script', maxReplayBytes);
  }

  async #stream(name: 'spec' | 'script', maxBytes: number): Promise<Uint8Array> {
    // What is looked at is kept, whatever its size, and not more.
    this.#keepBytes = Math.max(maxReplayBytes, this.#keptBytes) + 2 * maxBytes;
    try {
      return await this.#readStream(name, maxBytes);
    } finally {
      this.#keepBytes = Math.max(maxReplayBytes, this.#keptBytes);
    }
  }

  async #readStream(name: 'spec' | 'script', maxBytes: number): Promise<Uint8Array> {
    const parser = new RecordParser({ split: true });
    const parts: Uint8Array[] = [];
    let bytes = 0;
    for (let at = 0; ; at++) {
      const piece = this.#kept?.[at] ?? (await this.#pull());
      if (!piece) return Buffer.concat(parts);
      for (const record of parser.push(piece)) {
        if (name === 'script' && record.kind === 'data' && record.stream === streamId.spec) continue;
        if (record.kind !== 'data' || record.stream !== streamId[name]) return Buffer.concat(parts);
        bytes += record.bytes.byteLength;
        if (bytes > maxBytes) throw new RemoteError('too_large', `the ${name} is over ${maxBytes} bytes`);
        parts.push(record.bytes.slice());
      }
    }
  }

  /** From the beginning, in pieces that fit one frame. Throws `cancelled` when its sender goes away before its end. */
  async *read(): AsyncGenerator<Uint8Array, void, void> {
    const kept = this.#kept;
    if (!kept) throw new Error('the body was not kept');
    for (let at = 0; ; at++) {
      const piece = kept[at] ?? (await this.#pull());
      if (!piece) return;
      yield* split(piece);
    }
  }

  /** As `read`; `whole` is called once the last piece was taken. */
  async *readThen(whole: () => void): AsyncGenerator<Uint8Array, void, void> {
    yield* this.read();
    whole();
  }

  #pull(): Promise<Uint8Array | undefined> {
    this.#next ??= this.#take();
    return this.#next;
  }

  async #take(): Promise<Uint8Array | undefined> {
    const next = await this.#source.next().catch((error: unknown) => {
      throw new RemoteError('cancelled', 'the caller went away before its request was whole', {}, error);
    });
    // The end stays: whoever asks again gets it again.
    if (next.done) return undefined;
    this.#next = undefined;
    this.#keptBytes += next.value.byteLength;
    if (this.#keptBytes > this.#keepBytes) this.#kept = undefined;
    else this.#kept?.push(next.value);
    return next.value;
  }
}

function* split(piece: Uint8Array): Generator<Uint8Array, void, void> {
  const size = maxRecordPayloadBytes + recordHeaderBytes;
  for (let at = 0; at < piece.byteLength; at += size) yield piece.subarray(at, at + size);
}
