import type { ChangedFile, DiffHead } from '@codex-remote/protocol/schema';
import { type Clock, type ExecRecord, RemoteError, streamId } from '@codex-remote/protocol/wire';
import type { Connection } from './connection.ts';
import { readRecords } from './records.ts';
import { Resume } from './resume.ts';
import { arrayOf, booleanOf, objectOf, stringOf, wrong } from './shape.ts';
import { eventField } from './views.ts';

export interface ExecAddress {
  readonly id: string;
  readonly machine?: string | undefined;
}

export interface DiffFiles {
  readonly head: DiffHead;
  readonly files: readonly ChangedFile[];
}

type Options = { readonly signal?: AbortSignal | undefined };

/** What execs changed in their worktrees. Goes on by position where the controller went away, to the same result. */
export class DiffClient {
  readonly #connection: Connection;
  readonly #clock: Clock;

  constructor(connection: Connection, clock: Clock) {
    this.#connection = connection;
    this.#clock = clock;
  }

  /** All files that are others than before, sorted by the bytes of their paths. */
  async files(address: ExecAddress, options: Options = {}): Promise<DiffFiles> {
    const files: ChangedFile[] = [];
    let head: DiffHead | undefined;
    const position = () => ({ from: files.length, result: head?.result });
    for await (const record of this.#read(address, 'files', position, options)) {
      const { value } = eventOf(record);
      const diff = eventField(value, 'diff');
      if (diff !== undefined) head ??= readHead(diff);
      else for (const file of arrayOf(eventField(value, 'files'), 'files')) files.push(readChangedFile(file));
    }
    if (!head) throw new RemoteError('stream_cut', 'the diff ended without its first record');
    return { head, files };
  }

  /** The patch from `tree` to `result`, which `files` gave, as git writes it. Throws `file_changed` where it is another by now. */
  async *patch(
    address: ExecAddress,
    result: string,
    options: Options = {},
  ): AsyncGenerator<Uint8Array, void, void> {
    let next = 0;
    const position = () => ({ from: next, result });
    for await (const record of this.#read(address, 'patch', position, options)) {
      if (record.kind !== 'data') continue;
      if (record.stream !== streamId.content || record.offset !== next) throw wrong('the patch', 'in order');
      next += record.bytes.byteLength;
      yield record.bytes;
    }
  }

  /** Every record but the last, over controllers that go away. */
  async *#read(
    { id, machine }: ExecAddress,
    part: 'files' | 'patch',
    position: () => { readonly from: number; readonly result: string | undefined },
    options: Options,
  ): AsyncGenerator<ExecRecord, void, void> {
    const resume = new Resume(this.#clock, options.signal);
    for (;;) {
      const fields = { machine, part, ...position() };
      const query = Object.entries(fields).flatMap(([name, value]) =>
        value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`],
      );
      const path = `/v1/execs/${encodeURIComponent(id)}/diff?${query.join('&')}`;
      try {
        const response = await this.#connection.open({ method: 'GET', path, ...options });
        for await (const record of readRecords(response.body)) {
          const event = record.kind === 'event' ? record.value : undefined;
          const failure = eventField(event, 'error');
          if (failure !== undefined) throw RemoteError.fromWire(failure);
          if (eventField(event, 'end') !== undefined) return;
          resume.received();
          yield record;
        }
        throw new RemoteError('stream_cut', 'the diff ended without its last record');
      } catch (error) {
        await resume.after(error);
      }
    }
  }
}

function eventOf(record: ExecRecord): { value: unknown } {
  if (record.kind !== 'event') throw wrong('a record', 'an event');
  return record;
}

/** They become parts of command lines, of git too. */
function idOf(value: unknown, what: string): string {
  const id = stringOf(value, what);
  if (!/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(id)) throw wrong(what, 'the name of an object');
  return id;
}

function readHead(value: unknown): DiffHead {
  const head = objectOf(value, 'diff');
  return {
    commit: idOf(head.commit, 'commit'),
    tree: idOf(head.tree, 'tree'),
    result: idOf(head.result, 'result'),
    running: booleanOf(head.running, 'running'),
    ...(head.skipped !== undefined && { skipped: stringOf(head.skipped, 'skipped') }),
  };
}

function readChangedFile(value: unknown): ChangedFile {
  const file = objectOf(value, 'file');
  stringOf(file.path ?? file.path_b64, 'path');
  stringOf(file.status, 'status');
  for (const side of ['old', 'new']) {
    const [mode, id] = [file[`${side}_mode`], file[`${side}_id`]];
    if (mode === undefined && id === undefined) continue;
    if (!/^[0-7]{6}$/.test(stringOf(mode, 'mode'))) throw wrong('mode', 'six octal digits');
    idOf(id, 'id');
  }
  return value as ChangedFile;
}
