import { writeTrailer } from '@codex-remote/protocol/schema';
import { type Channel, RecordParser, RemoteError, streamId } from '@codex-remote/protocol/wire';
import type { WriteBody } from '../files/write-file.ts';

/**
 * A content as it comes in, the body of `file.write` and of `git.receive`: what is not yet taken holds up its sender. `pieces` throws `protocol_error` for
 * another body, and what ended the channel; `whole` throws `stream_cut` where the last record did not come.
 */
export class ReceivedFile implements WriteBody {
  readonly #channel: Channel;
  readonly #verb: string;
  readonly #parser = new RecordParser({ split: true });
  #bytes = 0;
  #said: { readonly bytes: number; readonly sha256: string } | undefined;

  constructor(channel: Channel, verb: string) {
    this.#channel = channel;
    this.#verb = verb;
  }

  async *pieces(): AsyncGenerator<Uint8Array, void, void> {
    for await (const item of this.#channel) {
      if (item.kind !== 'data') throw new RemoteError('protocol_error', `the body of ${this.#verb} is DATA`);
      for (const record of this.#parser.push(item.bytes)) {
        if (this.#said)
          throw new RemoteError('protocol_error', `the body of ${this.#verb} goes on after its end`);
        if (record.kind === 'event') {
          this.#said = readTrailer(record.value, this.#verb);
          continue;
        }
        if (record.kind !== 'data' || record.stream !== streamId.content || record.offset !== this.#bytes)
          throw new RemoteError('protocol_error', `the body of ${this.#verb} is not in order`);
        this.#bytes += record.bytes.byteLength;
        yield record.bytes;
      }
    }
  }

  whole(): { readonly bytes: number; readonly sha256: string } {
    if (!this.#said || !this.#parser.atBoundary)
      throw new RemoteError('stream_cut', `the body of ${this.#verb} was cut`);
    return this.#said;
  }
}

function readTrailer(value: unknown, verb: string): { bytes: number; sha256: string } {
  const trailer = writeTrailer.safeParse(value);
  if (trailer.success) return trailer.data.end;
  throw new RemoteError('protocol_error', `the last record of ${verb} has not the expected shape`);
}
