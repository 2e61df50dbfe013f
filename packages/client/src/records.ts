import {
  type ExecRecord,
  encodeRecord,
  maxRecordPayloadBytes,
  RecordParser,
  RemoteError,
  type StreamName,
  streamId,
} from '@codex-remote/protocol/wire';

/** Records out of the pieces of a body; data in parts as it comes. Throws `stream_cut` when the last one is not whole, `protocol_error`. */
export async function* readRecords(body: AsyncIterable<Uint8Array>): AsyncGenerator<ExecRecord, void, void> {
  const parser = new RecordParser({ split: true });
  for await (const piece of body) yield* parser.push(piece);
  if (!parser.atBoundary) throw new RemoteError('stream_cut', 'the stream ended in the middle of a record');
}

/** One stream of an upload, `chunk` by `chunk`, as records of a size that fits a frame. */
export function* dataRecords(
  stream: StreamName,
  chunk: Uint8Array,
  offset: number,
): Generator<Uint8Array, void, void> {
  for (let at = 0; at < chunk.byteLength; at += maxRecordPayloadBytes) {
    yield encodeRecord({
      kind: 'data',
      stream: streamId[stream],
      offset: offset + at,
      bytes: chunk.subarray(at, at + maxRecordPayloadBytes),
    });
  }
}
