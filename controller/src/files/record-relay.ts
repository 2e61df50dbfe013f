import type { Capability } from '@codex-remote/protocol/schema';
import { RecordParser, RemoteError, recordHeaderBytes } from '@codex-remote/protocol/wire';
import { checkCapabilities } from '../execs/agent-call.ts';
import { type ReadOptions, readResumed } from '../links/read-resumed.ts';

/** What a machine sends of files and execs, and where it goes on when the connection breaks. */
export interface FileStream<End> {
  readonly verb: 'file.list' | 'file.read' | 'artifact.list' | 'artifact.read' | 'exec.diff';
  /** Of an agent that is asked for it. */
  readonly needs: Capability;
  /** The request that begins, or goes on, where the last whole record ended. */
  params(): unknown;
  /** A data record of so many bytes. Throws `protocol_error` when it does not follow what came before. */
  data(stream: number, offset: number, bytes: number): void;
  /** An event record: what is passed on of it, or the end. Throws `protocol_error`. */
  event(value: unknown): { readonly pass?: object; readonly end?: End };
}

export interface RelayOptions extends Omit<ReadOptions, 'resumeWaitMs'> {
  readonly to: {
    /** Whole data records; resolves when there is room for more. */
    write(records: Uint8Array): Promise<void>;
    event(value: object): Promise<void>;
  };
}

/** How long a lost connection is waited for before the reader is told. */
const resumeWaitMs = 30_000;

/**
 * Carries the records of a file from its machine to a reader, over broken connections; nothing but what is on its way is held
 * here. Throws as `readResumed` does, and `agent_outdated`.
 */
export async function relayFile<End>(stream: FileStream<End>, options: RelayOptions): Promise<End> {
  const { link, to } = options;
  let pieces = new Pieces();
  return readResumed(
    {
      name: stream.verb,
      open: (session) => {
        checkCapabilities(link, [stream.needs]);
        pieces = new Pieces();
        const channel = session.open(stream.verb, stream.params());
        channel.end();
        return channel;
      },
      parse: (bytes) => pieces.take(bytes, stream),
      pass: async (parts) => {
        for (const part of parts) {
          if (part instanceof Uint8Array) await to.write(part);
          else if (part.end !== undefined) return { end: part.end };
          else if (part.pass) await to.event(part.pass);
        }
        return undefined;
      },
    },
    { ...options, resumeWaitMs },
  );
}

/** One connection's bytes as whole records. */
class Pieces {
  #rest: Uint8Array = new Uint8Array(0);

  /** Runs of data records as they came, and what is made of events, in order. A part of a record stays here. */
  take<End>(chunk: Uint8Array, stream: FileStream<End>): (Uint8Array | { pass?: object; end?: End })[] {
    const bytes = this.#rest.byteLength === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const parts: (Uint8Array | { pass?: object; end?: End })[] = [];
    let [begin, at] = [0, 0];
    const flush = (): void => {
      if (at > begin) parts.push(bytes.subarray(begin, at));
    };
    for (const record of new RecordParser().push(bytes)) {
      if (record.kind === 'data') {
        stream.data(record.stream, record.offset, record.bytes.byteLength);
        at += recordHeaderBytes + record.bytes.byteLength;
      } else if (record.kind === 'event') {
        flush();
        parts.push(stream.event(record.value));
        at += recordHeaderBytes + new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(4);
        begin = at;
      } else throw new RemoteError('protocol_error', `${stream.verb} has no ${record.kind} records`);
    }
    flush();
    this.#rest = bytes.subarray(at);
    return parts;
  }
}
