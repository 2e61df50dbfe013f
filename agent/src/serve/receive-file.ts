import { writeTrailer } from '@codex-remote/protocol/schema';
import { type Channel, RecordParser, RemoteError, streamId } from '@codex-remote/protocol/wire';
import type { WriteBody } from '../files/write-file.ts';

/**
 * The body of `file.write` as it comes in: what is not yet taken holds up its sender. `pieces` throws `protocol_error` for
 * another body, and what ended the channel; `whole` throws `stream_cut` where the last record did not come.
 */
export class ReceivedFile implements WriteBody {
  readonly #channel: Channel;
  readonly #parser = new RecordParser({ split: true });
  #bytes = 0;
  #said: { readonly bytes: number; readonly sha256: string } | undefined;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  async *pieces(): AsyncGenerator<Uint8Array, void, void> {
    for await (const item of this.#channel) {
      if (item.kind !== 'data') throw new RemoteError('protocol_error', 'the body of file.write is DATA');
      for (const record of this.#parser.push(item.bytes)) {
        if (this.#said)
          throw new RemoteError('protocol_error', 'the body of file.write goes on after its end');
        if (record.kind === 'event') {
          this.#said = readTrailer(record.value);
          continue;
        }
        if (record.kind !== 'data' || record.stream !== streamId.content || record.offset !== this.#bytes)
          throw new RemoteError('protocol_error', 'the body of file.write is not in order');
        this.#bytes += record.bytes.byteLength;
        yield record.bytes;
      }
    }
  }

  whole(): { readonly bytes: number; readonly sha256: string } {
    if (!this.#said || !this.#parser.atBoundary)
      throw new RemoteError('stream_cut', 'the body of file.write was cut');
    return this.#said;
  }
}

function readTrailer(value: unknown): { bytes: number; sha256: string } {
  const trailer = writeTrailer.safeParse(value);
  if (trailer.success) return trailer.data.end;
  throw new RemoteError('protocol_error', 'the last record of file.write has not the expected shape');
}
