import type { FileInfo } from '@codex-remote/protocol/schema';
import { type Clock, type ExecRecord, RemoteError, streamId } from '@codex-remote/protocol/wire';
import type { Connection } from './connection.ts';
import { readRecords } from './records.ts';
import { Resume } from './resume.ts';
import { booleanOf, numberOf, objectOf, stringOf, wrong } from './shape.ts';
import { eventField } from './views.ts';

/** What a read gives, in order: the file, its bytes, their end. */
export type FilePart =
  | { readonly kind: 'file'; readonly file: FileInfo }
  | { readonly kind: 'data'; readonly bytes: Uint8Array }
  | { readonly kind: 'end'; readonly next: number; readonly complete: boolean };

type Options = { readonly signal?: AbortSignal | undefined };

export interface ContentOrder {
  readonly from: number;
  readonly maxBytes?: number | undefined;
  /** It must still be this one. */
  readonly version?: string | undefined;
  /** The request for a part of it. */
  readonly pathOf: (fields: {
    readonly from: number;
    readonly max_bytes: number | undefined;
    readonly version: string | undefined;
  }) => string;
}

/** Goes on by position where the controller went away, in the same content: throws `file_changed` where it is another. */
export async function* readContent(
  connection: Connection,
  clock: Clock,
  order: ContentOrder,
  options: Options,
): AsyncGenerator<FilePart, void, void> {
  const resume = new Resume(clock, options.signal);
  const { from, maxBytes } = order;
  let version = order.version;
  let [next, begun] = [from, false];
  for (;;) {
    const max_bytes = maxBytes === undefined ? undefined : maxBytes - (next - from);
    const path = order.pathOf({ from: next, max_bytes, version });
    try {
      for await (const record of eventsOf(connection, path, options)) {
        if (record.kind === 'data') {
          if (record.stream !== streamId.content || record.offset !== next || !begun)
            throw wrong('the content of the file', 'in order');
          next += record.bytes.byteLength;
          resume.received();
          yield { kind: 'data', bytes: record.bytes };
          continue;
        }
        const { value } = eventOf(record);
        const end = eventField(value, 'end');
        if (end !== undefined) {
          yield { kind: 'end', next, complete: booleanOf(eventField(end, 'complete'), 'complete') };
          return;
        }
        const file = readInfo(eventField(value, 'file'));
        version = file.version ?? version;
        if (!begun) yield { kind: 'file', file };
        begun = true;
      }
      throw new RemoteError('stream_cut', 'the file ended without its last record');
    } catch (error) {
      await resume.after(error);
    }
  }
}

/** Records of an answer; an error among them is thrown. */
export async function* eventsOf(
  connection: Connection,
  path: string,
  options: Options,
): AsyncGenerator<ExecRecord, void, void> {
  const response = await connection.open({ method: 'GET', path, ...options });
  for await (const record of readRecords(response.body)) {
    const failure = record.kind === 'event' ? eventField(record.value, 'error') : undefined;
    if (failure !== undefined) throw RemoteError.fromWire(failure);
    yield record;
  }
}

export function eventOf(record: ExecRecord): { value: unknown } {
  if (record.kind !== 'event') throw wrong('a record', 'an event');
  return record;
}

export function readInfo(value: unknown): FileInfo {
  const info = objectOf(value, 'file');
  checkAttributes(info);
  numberOf(info.uid, 'uid');
  numberOf(info.gid, 'gid');
  textOf(info, 'path');
  const { version, ...rest } = value as FileInfo;
  // It becomes part of a command line.
  return version !== undefined && /^[0-9a-f-]+$/.test(version) ? { ...rest, version } : rest;
}

export function checkAttributes(value: Record<string, unknown>): void {
  stringOf(value.type, 'type');
  numberOf(value.size, 'size');
  numberOf(value.mode, 'mode');
  stringOf(value.mtime, 'mtime');
}

/** `name`, or `name_b64` where it is no UTF-8: one of them must be there. */
export function textOf<K extends string>(source: unknown, name: K): { [F in K | `${K}_b64`]?: string } {
  const field = eventField(source, name) === undefined ? `${name}_b64` : name;
  return { [field]: stringOf(eventField(source, field), name) } as { [F in K | `${K}_b64`]?: string };
}
