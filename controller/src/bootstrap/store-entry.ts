import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Probe } from './probe.ts';

export interface StoreFile {
  readonly name: string;
  /** Here. */
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly mode: 0o700 | 0o600;
}

/** A folder in the store of a machine, `<kind>-<first 16 hex digits of its hash>`: equal content, equal name, never changed. */
export interface StoreEntry {
  readonly name: string;
  readonly files: readonly StoreFile[];
}

/** Files are hashed once as long as they look the same; the runtime has 126 MB. */
export class StoreEntries {
  readonly #hashes = new Map<string, { stamp: string; sha256: string }>();

  /** One executable file. */
  async program(kind: string, path: string, name: string): Promise<StoreEntry> {
    const file = await this.#file(path, name, 0o700);
    return { name: `${kind}-${file.sha256.slice(0, 16)}`, files: [file] };
  }

  /** Several files to be read. */
  async bundle(kind: string, paths: readonly string[]): Promise<StoreEntry> {
    const files = await Promise.all(paths.map((path) => this.#file(path, basename(path), 0o600)));
    const hash = createHash('sha256');
    for (const file of files) hash.update(`${file.sha256}  ${file.name}\n`);
    return { name: `${kind}-${hash.digest('hex').slice(0, 16)}`, files };
  }

  async #file(path: string, name: string, mode: StoreFile['mode']): Promise<StoreFile> {
    const { size, mtimeMs, ino, dev } = await stat(path);
    const stamp = [size, mtimeMs, ino, dev].join();
    const known = this.#hashes.get(path);
    if (known?.stamp === stamp) return { name, path, bytes: size, sha256: known.sha256, mode };
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk);
    const sha256 = hash.digest('hex');
    this.#hashes.set(path, { stamp, sha256 });
    return { name, path, bytes: size, sha256, mode };
  }
}

export function entryBytes(entry: StoreEntry): number {
  return entry.files.reduce((sum, file) => sum + file.bytes, 0);
}

/** True when the machine has every file at its length. What is in the store was verified when it was placed. */
export function isStored(entry: StoreEntry, probe: Probe): boolean {
  return entry.files.every((file) => probe.store.get(`${entry.name}/${file.name}`) === file.bytes);
}
