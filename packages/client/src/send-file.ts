import type { FileWritten } from '@codex-remote/protocol/schema';
import { type Clock, encodeRecord, RemoteError } from '@codex-remote/protocol/wire';
import type { Connection } from './connection.ts';
import { dataRecords, readRecords } from './records.ts';
import { cutCodes, Resume } from './resume.ts';
import { booleanOf, numberOf, objectOf, stringOf } from './shape.ts';
import type { UploadSource } from './upload.ts';
import { eventField } from './views.ts';

type Options = { readonly signal?: AbortSignal | undefined };

const headers = { 'content-type': 'application/vnd.codex-remote.records' } as const;

/** How often it is sent where the machine breaks off in the middle of it. */
const maxSends = 5;

/** Sends the content of a file; what it is for is in `path`. As `sendContent`. */
export function sendFile(
  connection: Connection,
  clock: Clock,
  path: string,
  source: UploadSource,
  options: Options,
): Promise<FileWritten> {
  const read = (value: unknown): FileWritten => readWritten(eventField(value, 'written'));
  return sendContent(connection, clock, path, source, read, options);
}

/**
 * Sends a content and reads the event that answers it. Where the connection breaks it is sent from its beginning again, if it
 * can be read again. What fails in the end says in `sent` whether the whole of it may have gone out.
 */
export async function sendContent<T>(
  connection: Connection,
  clock: Clock,
  path: string,
  source: UploadSource,
  read: (event: unknown) => T,
  options: Options,
): Promise<T> {
  const resume = new Resume(clock, options.signal);
  let wholeSent = false;
  for (let sends = 1; ; sends++) {
    const content = new Content(source);
    try {
      return read(await once(connection, path, content, options));
    } catch (error) {
      const failure = RemoteError.from(error);
      wholeSent ||= content.whole;
      if (options.signal?.aborted || !isLost(failure.code)) throw failure;
      if (!source.again || sends === maxSends) throw withSent(failure, wholeSent);
      // The machine is there again, or was waited for already; anything else is waited for here.
      if (failure.code === 'connection_reset') continue;
      await resume.after(failure).catch((cause: unknown) => {
        throw withSent(RemoteError.from(cause), wholeSent);
      });
    }
  }
}

/** Whether it leaves open that it was done. */
function isLost(code: string): boolean {
  return cutCodes.has(code) || code === 'connection_reset';
}

/** A part of a content changes nothing. */
function withSent(failure: RemoteError, wholeSent: boolean): RemoteError {
  const sent = wholeSent || failure.details.sent === 'unknown' ? 'unknown' : 'no';
  return new RemoteError(failure.code, failure.message, { ...failure.details, sent }, failure);
}

async function once(
  connection: Connection,
  path: string,
  content: Content,
  options: Options,
): Promise<unknown> {
  const body = await content.body();
  const response = await connection.open({ method: 'POST', path, headers, body, ...options });
  for await (const record of readRecords(response.body)) {
    if (record.kind !== 'event') continue;
    const failure = eventField(record.value, 'error');
    if (failure !== undefined) throw RemoteError.fromWire(failure);
    return record.value;
  }
  throw new RemoteError('stream_cut', 'what was sent has no answer', { sent: 'unknown' });
}

/** The records of one sending. */
class Content {
  /** All of it was handed over. */
  whole = false;
  readonly #source: UploadSource;

  constructor(source: UploadSource) {
    this.#source = source;
  }

  async body(): Promise<AsyncIterable<Uint8Array>> {
    // Loading it takes milliseconds: only where something is written.
    const { createHash } = await import('node:crypto');
    return this.#records(createHash('sha256'));
  }

  async *#records(hash: {
    update(bytes: Uint8Array): unknown;
    digest(encoding: 'hex'): string;
  }): AsyncGenerator<Uint8Array, void, void> {
    let bytes = 0;
    for await (const chunk of this.#source.read()) {
      hash.update(chunk);
      yield* dataRecords('content', chunk, bytes);
      bytes += chunk.byteLength;
    }
    this.whole = true;
    yield encodeRecord({ kind: 'event', value: { end: { bytes, sha256: hash.digest('hex') } } });
  }
}

function readWritten(value: unknown): FileWritten {
  const written = objectOf(value, 'written');
  numberOf(written.size, 'size');
  numberOf(written.mode, 'mode');
  stringOf(written.sha256, 'sha256');
  booleanOf(written.created, 'created');
  return value as FileWritten;
}
