import type { ArtifactFile } from '@codex-remote/protocol/schema';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import type { Connection } from '../connection.ts';
import { eventOf, eventsOf, type FilePart, readContent, textOf } from '../file-content.ts';
import { Resume } from '../resume.ts';
import { arrayOf, numberOf, objectOf, stringOf, wrong } from '../shape.ts';
import { eventField } from '../views.ts';

/** Whose artifacts. */
export interface ArtifactsOf {
  /** Or a prefix of it. */
  readonly id: string;
  readonly machine?: string | undefined;
  /** How long to wait for a known machine that is just reconnecting. */
  readonly connectWaitMs: number;
}

type Options = { readonly signal?: AbortSignal | undefined };

/** What is kept of execs, through the controller's API. Asked again where the controller goes away meanwhile. */
export class ArtifactClient {
  readonly #connection: Connection;
  readonly #clock: Clock;

  constructor(connection: Connection, clock: Clock) {
    this.#connection = connection;
    this.#clock = clock;
  }

  /** All of it. */
  async list(of: ArtifactsOf, options: Options = {}): Promise<ArtifactFile[]> {
    const resume = new Resume(this.#clock, options.signal);
    for (;;) {
      try {
        return await this.#list(of, options);
      } catch (error) {
        await resume.after(error);
      }
    }
  }

  /** What is kept under `path`, its bytes, which the list has. */
  read(of: ArtifactsOf, path: Uint8Array, options: Options = {}): AsyncGenerator<FilePart, void, void> {
    const path_b64 = Buffer.from(path).toString('base64url');
    const order = { from: 0, pathOf: (fields: object) => pathOf(of, '/read', { path_b64, ...fields }) };
    return readContent(this.#connection, this.#clock, order, options);
  }

  async #list(of: ArtifactsOf, options: Options): Promise<ArtifactFile[]> {
    const files: ArtifactFile[] = [];
    for await (const record of eventsOf(this.#connection, pathOf(of, '', {}), options)) {
      const { value } = eventOf(record);
      if (eventField(value, 'end') !== undefined) return files;
      for (const file of arrayOf(eventField(value, 'files'), 'files')) files.push(readArtifact(file));
    }
    throw new RemoteError('stream_cut', 'the list ended without its last record');
  }
}

/** The bytes of a path that is told as text, or in base64 where it is none. */
export function bytesOfPath({ path, path_b64 }: Pick<ArtifactFile, 'path' | 'path_b64'>): Buffer {
  return path === undefined ? Buffer.from(path_b64 ?? '', 'base64') : Buffer.from(path);
}

function readArtifact(value: unknown): ArtifactFile {
  const file = objectOf(value, 'artifact');
  textOf(file, 'path');
  numberOf(file.size, 'size');
  if (!/^[0-9a-f]{64}$/.test(stringOf(file.sha256, 'sha256'))) throw wrong('sha256', '64 hex digits');
  return value as ArtifactFile;
}

function pathOf(
  { id, machine, connectWaitMs }: ArtifactsOf,
  verb: string,
  fields: Readonly<Record<string, string | number | undefined>>,
): string {
  const query = Object.entries({ machine, connect_wait_ms: connectWaitMs, ...fields }).flatMap(
    ([name, value]) => (value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`]),
  );
  return `/v1/execs/${encodeURIComponent(id)}/artifacts${verb}?${query.join('&')}`;
}
