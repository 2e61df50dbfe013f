import type {
  FileEntry,
  FileInfo,
  FileRemoved,
  FileWritten,
  FolderMade,
} from '@codex-remote/protocol/schema';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import { type Connection, jsonHeaders } from './connection.ts';
import {
  checkAttributes,
  eventOf,
  eventsOf,
  type FilePart,
  readContent,
  readInfo,
  textOf,
} from './file-content.ts';
import { Resume } from './resume.ts';
import { sendFile } from './send-file.ts';
import { arrayOf, booleanOf, numberOf, objectOf } from './shape.ts';
import type { UploadSource } from './upload.ts';
import { eventField } from './views.ts';

/** A path of a machine, as its bytes. */
export interface FileAddress {
  readonly machine: string;
  readonly path: Uint8Array;
  /** How long to wait for a known machine that is just reconnecting. */
  readonly connectWaitMs: number;
}

export interface FileReadOrder extends FileAddress {
  readonly from: number;
  readonly maxBytes?: number | undefined;
  /** It must still be this one. */
  readonly version?: string | undefined;
}

export interface FileWriteOrder extends FileAddress {
  /** Of this write: the same one is done once, however often it is sent. */
  readonly writeId: string;
  readonly size?: number | undefined;
  readonly mode?: number | undefined;
  readonly expectSha256?: string | undefined;
  readonly createOnly: boolean;
  readonly parents: boolean;
}

export interface FolderPage {
  readonly path?: string;
  readonly path_b64?: string;
  readonly entries: FileEntry[];
  readonly total: number;
  readonly more: boolean;
  readonly next_cursor?: string;
}

type Options = { readonly signal?: AbortSignal | undefined };

/** Files of machines, through the controller's API. What only looks is asked again where the controller goes away meanwhile. */
export class FileClient {
  readonly #connection: Connection;
  readonly #clock: Clock;

  constructor(connection: Connection, clock: Clock) {
    this.#connection = connection;
    this.#clock = clock;
  }

  stat(address: FileAddress, sha256: boolean, options: Options = {}): Promise<FileInfo> {
    const path = pathOf(address, 'stat', { sha256: sha256 ? '1' : '0' });
    return this.#again(options, async () =>
      readInfo(await this.#connection.json({ method: 'GET', path, ...options })),
    );
  }

  list(
    address: FileAddress,
    page: { readonly limit: number; readonly cursor?: string | undefined },
    options: Options = {},
  ): Promise<FolderPage> {
    const path = pathOf(address, 'list', { limit: page.limit, cursor: page.cursor });
    return this.#again(options, async () => {
      const entries: FileEntry[] = [];
      for await (const record of eventsOf(this.#connection, path, options)) {
        const { value } = eventOf(record);
        const end = eventField(value, 'end');
        if (end === undefined) {
          for (const entry of arrayOf(eventField(value, 'entries'), 'entries'))
            entries.push(readEntry(entry));
          continue;
        }
        return {
          ...textOf(end, 'path'),
          entries,
          total: numberOf(eventField(end, 'total'), 'total'),
          more: booleanOf(eventField(end, 'more'), 'more'),
          ...cursorOf(eventField(end, 'next_cursor')),
        };
      }
      throw new RemoteError('stream_cut', 'the list ended without its last record');
    });
  }

  /** Goes on by position where the controller went away, in the same content: throws `file_changed` where it is another. */
  read(order: FileReadOrder, options: Options = {}): AsyncGenerator<FilePart, void, void> {
    const { from, maxBytes, version } = order;
    return readContent(
      this.#connection,
      this.#clock,
      { from, maxBytes, version, pathOf: (fields) => pathOf(order, 'read', fields) },
      options,
    );
  }

  /** Sent again by itself, under its id, where the content can be read again. */
  write(order: FileWriteOrder, source: UploadSource, options: Options = {}): Promise<FileWritten> {
    return sendFile(
      this.#connection,
      this.#clock,
      pathOf(order, 'write', writeQuery(order)),
      source,
      options,
    );
  }

  async remove(address: FileAddress, recursive: boolean, options: Options = {}): Promise<FileRemoved> {
    const value = await this.#post(address, 'remove', { recursive }, options);
    numberOf(eventField(value, 'removed'), 'removed');
    return { ...value, ...textOf(value, 'path') } as FileRemoved;
  }

  async mkdir(
    address: FileAddress,
    folder: { readonly parents: boolean; readonly mode?: number | undefined },
    options: Options = {},
  ): Promise<FolderMade> {
    const value = await this.#post(address, 'mkdir', folder, options);
    booleanOf(eventField(value, 'created'), 'created');
    numberOf(eventField(value, 'mode'), 'mode');
    return { ...value, ...textOf(value, 'path') } as FolderMade;
  }

  async #post(address: FileAddress, verb: string, body: object, options: Options): Promise<object> {
    const path = pathOf(address, verb, {});
    const sent = Buffer.from(JSON.stringify(body));
    const answer = await this.#connection.json({
      method: 'POST',
      path,
      headers: jsonHeaders,
      body: sent,
      ...options,
    });
    return objectOf(answer, verb);
  }

  /** For what changes nothing and is answered in one piece. */
  async #again<T>({ signal }: Options, ask: () => Promise<T>): Promise<T> {
    const resume = new Resume(this.#clock, signal);
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        await resume.after(error);
      }
    }
  }
}

function writeQuery({ writeId, size, mode, expectSha256, createOnly, parents }: FileWriteOrder) {
  return {
    write_id: writeId,
    size,
    mode,
    expect_sha256: expectSha256,
    create_only: createOnly ? '1' : '0',
    parents: parents ? '1' : '0',
  };
}

function pathOf(
  { machine, path, connectWaitMs }: FileAddress,
  verb: string,
  fields: Readonly<Record<string, string | number | undefined>>,
): string {
  const query = Object.entries({
    path_b64: Buffer.from(path).toString('base64url'),
    connect_wait_ms: connectWaitMs,
    ...fields,
  }).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`]));
  return `/v1/machines/${encodeURIComponent(machine)}/files/${verb}?${query.join('&')}`;
}

function readEntry(value: unknown): FileEntry {
  const entry = objectOf(value, 'entry');
  checkAttributes(entry);
  textOf(entry, 'name');
  return value as FileEntry;
}

/** It becomes part of a command line. */
function cursorOf(value: unknown): { next_cursor?: string } {
  return typeof value === 'string' && /^[A-Za-z0-9_-]+$/.test(value) ? { next_cursor: value } : {};
}
