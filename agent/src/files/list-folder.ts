import type { BigIntStats } from 'node:fs';
import { opendir } from 'node:fs/promises';
import type { FileEntry, ListEvent } from '@codex-remote/protocol/schema';
import { encodeRecord } from '@codex-remote/protocol/wire';
import { errnoOf, fileError } from './file-error.ts';
import { entryOf, lookAt } from './file-info.ts';
import { below, textField } from './path.ts';
import type { FileSink } from './read-file.ts';

export interface ListOrder {
  readonly path: Buffer;
  readonly limit: number;
  /** The name after which it goes on, base64url. */
  readonly cursor?: string | undefined;
}

/** JSON of one page: it fits a record. */
const pageBytes = 40 * 1024;
/** Entries that are looked at side by side. */
const looksAtOnce = 16;

/**
 * Sends the entries of a folder in the order of the bytes of their names. However many there are, only those that are sent
 * are kept. Throws as file-error.ts says, `not_directory` for anything else.
 */
export async function listFolder({ path, limit, cursor }: ListOrder, sink: FileSink): Promise<void> {
  try {
    const { names, total, more } = await firstNames(path, limit, cursor);
    const page = new Pages(sink);
    for (let at = 0; at < names.length; at += looksAtOnce) {
      const some = names.slice(at, at + looksAtOnce);
      for (const entry of await Promise.all(some.map((name) => look(path, name))))
        if (entry) await page.add(entry);
    }
    await page.flush();
    const last = names.at(-1);
    const next_cursor = more && last !== undefined ? cursorOf(last) : undefined;
    const end = {
      ...textField('path', path),
      total,
      more,
      ...(next_cursor !== undefined && { next_cursor }),
    };
    await sink.write(encodeRecord({ kind: 'event', value: { end } satisfies ListEvent }));
  } catch (error) {
    throw fileError('list', path, error);
  }
}

/** Names as latin1 text: a character is a byte, and their order is that of the bytes. */
async function firstNames(path: Buffer, limit: number, cursor: string | undefined) {
  const after = cursor === undefined ? '' : Buffer.from(cursor, 'base64url').toString('latin1');
  let names: string[] = [];
  let total = 0;
  let behind = 0;
  for await (const { name } of await opendir(path, { encoding: 'latin1' as BufferEncoding })) {
    total += 1;
    if (name <= after) continue;
    behind += 1;
    names.push(name);
    if (names.length >= 2 * limit + 1000) names = sorted(names).slice(0, limit);
  }
  return { names: sorted(names).slice(0, limit), total, more: behind > limit };
}

function sorted(names: string[]): string[] {
  return names.sort((a, b) => (a < b ? -1 : 1));
}

/** Undefined: it is gone by now. */
async function look(folder: Buffer, name: string): Promise<FileEntry | undefined> {
  const bytes = Buffer.from(name, 'latin1');
  try {
    const { stat, target }: { stat: BigIntStats; target?: Buffer } = await lookAt(below(folder, bytes));
    return entryOf(bytes, stat, target);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function cursorOf(name: string): string {
  return Buffer.from(name, 'latin1').toString('base64url');
}

class Pages {
  readonly #sink: FileSink;
  #entries: FileEntry[] = [];
  #bytes = 0;

  constructor(sink: FileSink) {
    this.#sink = sink;
  }

  async add(entry: FileEntry): Promise<void> {
    const bytes = Buffer.byteLength(JSON.stringify(entry)) + 1;
    if (this.#bytes + bytes > pageBytes) await this.flush();
    this.#entries.push(entry);
    this.#bytes += bytes;
  }

  async flush(): Promise<void> {
    if (this.#entries.length === 0) return;
    const entries = this.#entries;
    this.#entries = [];
    this.#bytes = 0;
    await this.#sink.write(encodeRecord({ kind: 'event', value: { entries } satisfies ListEvent }));
  }
}
