import { maxRecordPayloadBytes, recordHeaderBytes } from '@codex-remote/protocol/wire';

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
  #finished = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** False once more was taken than is kept: the body cannot be sent from its beginning again. */
  get replayable(): boolean {
    return this.#kept !== undefined;
  }

  /** From the beginning, in pieces that fit one frame. */
  async *read(): AsyncGenerator<Uint8Array, void, void> {
    if (!this.#kept) throw new Error('the body was not kept');
    for (const piece of this.#kept) yield* split(piece);
    while (!this.#finished) {
      const next = await this.#source.next();
      if (next.done) {
        this.#finished = true;
        return;
      }
      this.#keep(next.value);
      yield* split(next.value);
    }
  }

  #keep(piece: Uint8Array): void {
    this.#keptBytes += piece.byteLength;
    if (this.#keptBytes > maxReplayBytes) this.#kept = undefined;
    else this.#kept?.push(piece);
  }
}

function* split(piece: Uint8Array): Generator<Uint8Array, void, void> {
  const size = maxRecordPayloadBytes + recordHeaderBytes;
  for (let at = 0; at < piece.byteLength; at += size) yield piece.subarray(at, at + size);
}
