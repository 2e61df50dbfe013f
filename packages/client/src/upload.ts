import type { ExecSpec } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { dataRecords } from './records.ts';

/**
 * Bytes of a script or of stdin. `again` says whether they can be read more than once (a buffer, a file), as a start
 * that is sent again after a lost answer needs.
 */
export interface UploadSource {
  readonly again: boolean;
  read(): AsyncIterable<Uint8Array>;
}

/** Whole bytes as a source. */
export function bytesSource(bytes: Uint8Array): UploadSource {
  return {
    again: true,
    async *read() {
      yield bytes;
    },
  };
}

interface Upload {
  readonly spec: ExecSpec;
  readonly script?: UploadSource | undefined;
  readonly stdin?: UploadSource | undefined;
}

/** The body of a start: streams spec, script, stdin in this order. Without a script or stdin it is whole at once. */
export function uploadOf(upload: Upload): Uint8Array | AsyncIterable<Uint8Array> {
  const spec = [...dataRecords('spec', Buffer.from(JSON.stringify(upload.spec)), 0)];
  return upload.script === undefined && upload.stdin === undefined
    ? Buffer.concat(spec)
    : streamed(upload, spec);
}

async function* streamed(
  { script, stdin }: Upload,
  spec: Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  yield* spec;
  for (const [stream, source] of [
    ['script', script],
    ['stdin', stdin],
  ] as const) {
    if (source === undefined) continue;
    let offset = 0;
    for await (const chunk of source.read()) {
      yield* dataRecords(stream, chunk, offset);
      offset += chunk.byteLength;
    }
  }
}

/** Whether the whole request can be sent again. */
export function canSendAgain({ script, stdin }: Upload): boolean {
  return (script?.again ?? true) && (stdin?.again ?? true);
}

/** How often a start is sent whose machine breaks off in the middle of it. */
const maxSends = 5;

/**
 * One start on its way. A controller sends a small one again by itself; one that it could not keep, and during which the
 * machine's connection broke, is sent from its beginning by us: under the same id it starts or attaches, never twice.
 */
export class Sending {
  #left: number;

  constructor(upload: Upload) {
    this.#left = canSendAgain(upload) ? maxSends - 1 : 0;
  }

  /** Whether the request that failed so is to be sent again. */
  again(error: unknown): boolean {
    const { code, details } = RemoteError.from(error);
    return code === 'connection_reset' && details.sent === 'unknown' && this.#left-- > 0;
  }
}

/**
 * A failure of a request that was sent before, and may have reached the machine then: what the last one says of itself
 * (`sent: no`) is not true of the exec. An answer of the machine stands.
 */
export function sentBefore(error: unknown): unknown {
  if (!(error instanceof RemoteError) || error.details.sent === 'yes') return error;
  return new RemoteError(error.code, error.message, { ...error.details, sent: 'unknown' }, error);
}
