import { readdirSync, type Stats } from 'node:fs';
import { digestOf } from './content.ts';
import { absoluteOf, type BytePath, childPath, type Entry, type IgnoreText, systemPath } from './entry.ts';
import { readIgnoreFile, textsAbove } from './ignore-texts.ts';
import { type IgnoreOptions, Ignoring, type Taken } from './ignoring.ts';
import { batchEntries, treeLimits } from './limits.ts';
import { entryOf, lookAt, targetOf, typeOf } from './look.ts';
import { isGitName, isStagingName, targetFault } from './names.ts';
import { Slice } from './slice.ts';
import { errnoOf, overLimit, systemError } from './tree-error.ts';

export interface ScanOptions extends IgnoreOptions {
  /** The SHA-256 of each file is told. */
  readonly checksum?: boolean | undefined;
  /** What is ignored is told with the tree: for whoever is to remove there what is not in it. */
  readonly ignoreTexts?: boolean | undefined;
  /** What does not travel although nobody said so: a device, a link that leads out, what cannot be read. */
  readonly skipped?: (path: BytePath, why: string, how: Skipped) => void;
}

/** `skip`: no tree of ours has such a thing. `refuse`: its user would miss it: a link that leads out, what cannot be read. */
export type Skipped = 'skip' | 'refuse';

interface Folder {
  readonly path: BytePath;
  readonly names: readonly BytePath[];
  at: number;
  readonly taken: Taken;
  /** Of a folder that is told only when something in it is. */
  untold: Entry | undefined;
}

/**
 * All of the tree in `root`, an absolute path, in batches. What is removed meanwhile is left out. Holds the names of the
 * folders that are open. Throws `sync_limit`, `cancelled`, and what the system says of the root.
 */
export async function* scanTree(root: BytePath, options: ScanOptions): AsyncGenerator<readonly Entry[]> {
  const scan = new Scan(root, options);
  await scan.start();
  for (;;) {
    const batch = await scan.batch();
    if (batch.length > 0) yield batch;
    if (scan.over) return;
  }
}

class Scan {
  readonly #root: BytePath;
  readonly #options: ScanOptions;
  readonly #ignoring: Ignoring;
  readonly #slice = new Slice();
  readonly #open: Folder[] = [];
  #entries: Entry[] = [];
  #count = 0;

  constructor(root: BytePath, options: ScanOptions) {
    this.#root = root;
    this.#options = options;
    this.#ignoring = new Ignoring(root, options);
  }

  get over(): boolean {
    return this.#open.length === 0;
  }

  async start(): Promise<void> {
    let names: BytePath[];
    try {
      names = namesOf(this.#root);
    } catch (error) {
      throw systemError(this.#root, error);
    }
    await this.#ignoring.start();
    await this.#ignoring.enter('', names);
    this.#open.push({ path: '', names, at: 0, taken: 'in', untold: undefined });
    this.#tellRules('', names);
    if (!this.#options.ignoreTexts) return;
    for (const rules of await textsAbove(this.#root, this.#options.signal))
      this.#entries.push(rulesEntry('', rules));
  }

  async batch(): Promise<readonly Entry[]> {
    for (let steps = 1; this.#entries.length < batchEntries && !this.over; steps++) {
      if (steps % 16 === 0 && this.#slice.over) await this.#slice.rest(this.#options.signal);
      const folder = this.#open[this.#open.length - 1];
      const name = folder?.names[folder.at];
      if (folder === undefined || name === undefined) {
        this.#leave();
        continue;
      }
      folder.at += 1;
      // Most names have nothing to wait for.
      const waits = this.#name(folder, name);
      if (waits) await waits;
    }
    const entries = this.#entries;
    this.#entries = [];
    return entries;
  }

  #leave(): void {
    const folder = this.#open.pop();
    if (folder) this.#ignoring.leave(folder.path);
  }

  #name(folder: Folder, name: BytePath): Promise<void> | undefined {
    if (name === '.git' || isStagingName(name)) return undefined;
    const path = childPath(folder.path, name);
    if (isGitName(name)) return this.#skip(path, 'some file systems take its name for .git', 'refuse');
    if (path.length > treeLimits.maxPathBytes) throw overLimit('bytes in a path', treeLimits.maxPathBytes);
    const absolute = absoluteOf(this.#root, path);
    const stat = this.#asked(folder, path, () => lookAt(absolute));
    if (!stat) return undefined;
    const type = typeOf(stat);
    const taken = this.#ignoring.verdict(path, type === 'directory', folder.taken);
    if (taken === 'out') return undefined;
    if (type === 'directory') return this.#enter(folder, entryOf(path, stat, undefined), taken);
    if (taken === 'pass') return undefined;
    if (type === 'other') return this.#keep(folder, path, 'it is a device, FIFO or socket', 'skip');
    if (type === 'symlink') return this.#link(folder, path, stat);
    if (this.#options.checksum) return this.#digested(folder, entryOf(path, stat, undefined), absolute);
    this.#tell(folder, entryOf(path, stat, undefined));
    return undefined;
  }

  async #enter(folder: Folder, entry: Entry, taken: Taken): Promise<void> {
    const { path } = entry;
    if (this.#open.length > treeLimits.maxDepth) throw overLimit('folders in folders', treeLimits.maxDepth);
    const names = this.#asked(folder, path, () => namesOf(absoluteOf(this.#root, path)));
    if (!names) return;
    const untold = taken === 'pass' ? entry : undefined;
    if (!untold) this.#tell(folder, entry);
    this.#open.push({ path, names, at: 0, taken, untold });
    if (!untold) this.#tellRules(path, names);
    await this.#ignoring.enter(path, names);
  }

  #tellRules(folder: BytePath, names: readonly BytePath[]): void {
    if (!this.#options.ignoreTexts || !names.includes('.gitignore')) return;
    const text = readIgnoreFile(absoluteOf(this.#root, folder));
    if (text !== undefined && text !== '') this.#entries.push(rulesEntry(folder, { text, prefix: '' }));
  }

  #link(folder: Folder, path: BytePath, stat: Stats): undefined {
    const target = this.#asked(folder, path, () => targetOf(absoluteOf(this.#root, path)));
    if (target === undefined) return;
    const fault = targetFault(path, target);
    if (fault !== undefined) return this.#keep(folder, path, fault, 'refuse');
    this.#tell(folder, entryOf(path, stat, target));
  }

  async #digested(folder: Folder, entry: Entry, absolute: BytePath): Promise<void> {
    try {
      this.#tell(folder, { ...entry, sha256: await digestOf(absolute, this.#options.signal) });
    } catch (error) {
      this.#failed(folder, entry.path, error);
    }
  }

  /** What the system answers. Undefined: it is gone, or cannot be read and is told so. */
  #asked<T>(folder: Folder, path: BytePath, ask: () => T): T | undefined {
    try {
      return ask();
    } catch (error) {
      return this.#failed(folder, path, error);
    }
  }

  #failed(folder: Folder, path: BytePath, error: unknown): undefined {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    if (errno !== 'ENOENT' && errno !== 'ENOTDIR')
      this.#keep(folder, path, `it cannot be read: the system answered ${errno}`, 'refuse');
  }

  /** It is there: the other side leaves alone what has its name. */
  #keep(folder: Folder, path: BytePath, why: string, how: Skipped): undefined {
    this.#tell(folder, { path, type: 'other', mode: 0, size: 0, mtimeUs: 0 });
    this.#skip(path, why, how);
  }

  #skip(path: BytePath, why: string, how: Skipped): undefined {
    this.#options.skipped?.(path, why, how);
  }

  #tell(folder: Folder, entry: Entry): void {
    if (folder.untold) this.#tellFolders();
    this.#entries.push(entry);
    this.#count += 1;
    if (this.#count > treeLimits.maxEntries) throw overLimit('names', treeLimits.maxEntries);
  }

  /** Something in them is taken in: they are on its way. */
  #tellFolders(): void {
    for (const folder of this.#open) {
      if (folder.untold) this.#entries.push(folder.untold);
      folder.untold = undefined;
    }
  }
}

function rulesEntry(folder: BytePath, rules: IgnoreText): Entry {
  return { path: folder, type: 'rules', mode: 0, size: 0, mtimeUs: 0, rules };
}

/** In the order of their bytes. */
export function namesOf(absolute: BytePath): BytePath[] {
  const names = readdirSync(systemPath(absolute), { encoding: 'latin1' as BufferEncoding });
  if (names.length > treeLimits.maxSiblings) throw overLimit('names in a folder', treeLimits.maxSiblings);
  return names.sort();
}
