import { readFile } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { writeDurable } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Adapter } from 'lowdb';
import type { z } from 'zod';

/** What a file is to people and to tests. */
export interface FileNames {
  readonly name: string;
  /** Where tests end the process: before and after each write. */
  readonly before: () => void;
  readonly after: () => void;
  /** What its owner does where it is lost, after "move it away and". */
  readonly lost: string;
}

/**
 * Small, readable JSON; a unique temporary file, fsync and rename make every write whole or absent. `sum` in the file is the
 * CRC-32 of the rest, so that a changed byte is not taken for another fact. Whoever edits by hand drops it.
 */
export class DurableJson<T extends object> implements Adapter<T> {
  readonly #path: string;
  readonly #schema: z.ZodType<T>;
  readonly #names: FileNames;

  constructor(path: string, schema: z.ZodType<T>, names: FileNames) {
    this.#path = path;
    this.#schema = schema;
    this.#names = names;
  }

  /** Null where there is no file. Throws `state_unusable`. */
  async read(): Promise<T | null> {
    let text: string;
    try {
      text = await readFile(this.#path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw this.#unusable(error);
    }
    let value: T & { sum?: unknown };
    let read: T;
    try {
      value = JSON.parse(text);
      read = this.#schema.parse(value);
    } catch (error) {
      throw this.#unusable(error);
    }
    const { sum, ...rest } = value;
    if (sum !== undefined && sum !== sumOf(rest)) throw this.#changed();
    return read;
  }

  async write(data: T): Promise<void> {
    this.#names.before();
    await writeDurable(this.#path, `${JSON.stringify({ ...data, sum: sumOf(data) }, undefined, 2)}\n`);
    this.#names.after();
  }

  #changed(): RemoteError {
    return new RemoteError(
      'state_unusable',
      `the ${this.#names.name} ${this.#path} is not as it was written: it is damaged, or was edited`,
      { hint: `look through ${this.#path}; where all is right, remove its line "sum"` },
    );
  }

  #unusable(cause: unknown): RemoteError {
    return new RemoteError(
      'state_unusable',
      `the ${this.#names.name} ${this.#path} cannot be read`,
      { hint: `repair the file, or move it away and ${this.#names.lost}` },
      cause,
    );
  }
}

function sumOf(data: object): string {
  return crc32(JSON.stringify(data)).toString(16).padStart(8, '0');
}
