import { realpathSync, statSync } from 'node:fs';
import { type Action, actionFor, refuse, type There } from './action.ts';
import { digestOf } from './content.ts';
import { absoluteOf, type BytePath, type Entry, lastName, parentPath, systemPath } from './entry.ts';
import { foldsNames } from './folds.ts';
import { type IgnoreOptions, Ignoring, type Taken } from './ignoring.ts';
import { batchEntries } from './limits.ts';
import { linkStaysInside } from './link-inside.ts';
import { lookAt, targetOf, typeOf } from './look.ts';
import { foldedName } from './names.ts';
import { Removals } from './removals.ts';
import { namesOf } from './scan.ts';
import { Slice } from './slice.ts';
import { errnoOf, nameError, systemError } from './tree-error.ts';

export interface CompareOptions extends IgnoreOptions {
  /** What was not told is removed, but what is ignored on either side, and repositories. */
  readonly delete: boolean;
  /** Entries tell digests, and those count; else size and time do, as with rsync. */
  readonly checksum?: boolean | undefined;
  /** Why something that would be made or changed is not to be. */
  readonly heldBack?: ((entry: Entry) => string | undefined) | undefined;
  /** Names that differ in case or Unicode form alone are one there. Absent: the file system is looked at. */
  readonly foldsNames?: boolean;
}

interface Folder {
  readonly path: BytePath;
  readonly state: 'there' | 'missing' | 'refused';
  readonly taken: Taken;
  /** What is there and was not told yet, where that is to be removed. */
  readonly extra: Set<BytePath> | undefined;
  /** Names that were told, as the file system has them. */
  readonly folded: Map<string, BytePath> | undefined;
}

/**
 * What makes the tree in `root`, an absolute path, the one that `source` tells. Nothing is written here: the actions are to be
 * done in their order. For each batch of `source` there is at least one of actions, and all of them before the next is asked
 * for. It looks at the names that are told; what else is there is read only where it is to be removed, when a folder is left,
 * so of a source that breaks off nothing more is removed. Throws what `source` throws, `sync_limit` and `cancelled`.
 */
export async function* compareTree(
  root: BytePath,
  source: AsyncIterable<readonly Entry[]>,
  options: CompareOptions,
): AsyncGenerator<readonly Action[], void, void> {
  const comparison = new Comparison(root, options);
  await comparison.start();
  for await (const batch of source) {
    for (const entry of batch) {
      const waits = comparison.take(entry);
      if (waits) await waits;
      if (comparison.full) yield comparison.actions();
    }
    yield comparison.actions();
  }
  for await (const actions of comparison.end()) yield actions;
}

class Comparison {
  readonly #root: BytePath;
  readonly #options: CompareOptions;
  readonly #ignoring: Ignoring;
  readonly #removals: Removals;
  readonly #folds: boolean;
  readonly #slice = new Slice();
  readonly #open: Folder[] = [];
  #actions: Action[] = [];
  #steps = 0;

  constructor(root: BytePath, options: CompareOptions) {
    this.#options = options;
    const there = realRoot(root);
    this.#root = there ?? root;
    this.#ignoring = new Ignoring(this.#root, options);
    this.#removals = new Removals(this.#root, this.#ignoring, options.signal);
    this.#folds = options.foldsNames ?? foldsNames(root);
    this.#open.push(this.#folder('', there === undefined ? 'missing' : 'there', 'in'));
  }

  async start(): Promise<void> {
    const [tree] = this.#open;
    if (!this.#options.delete || tree?.state !== 'there') return;
    await this.#ignoring.start();
    await this.#ignoring.enter('', [...(tree.extra ?? [])]);
  }

  get full(): boolean {
    return this.#actions.length >= batchEntries;
  }

  actions(): readonly Action[] {
    const actions = this.#actions;
    this.#actions = [];
    return actions;
  }

  take(entry: Entry): Promise<void> | undefined {
    const parent = entry.type === 'rules' ? entry.path : parentPath(entry.path);
    this.#steps += 1;
    const rest = this.#steps % 16 === 0 && this.#slice.over;
    if (!rest && this.#open[this.#open.length - 1]?.path === parent) return this.#entry(entry);
    return this.#takeLater(entry, parent, rest);
  }

  async #takeLater(entry: Entry, parent: BytePath, rest: boolean): Promise<void> {
    if (rest) await this.#slice.rest(this.#options.signal);
    await this.#leaveUntil(parent);
    await this.#entry(entry);
  }

  async *end(): AsyncGenerator<readonly Action[], void, void> {
    while (this.#open.length > 0) {
      await this.#leave();
      yield this.actions();
    }
  }

  async #leaveUntil(parent: BytePath): Promise<void> {
    while (this.#open.length > 1 && this.#open[this.#open.length - 1]?.path !== parent) await this.#leave();
  }

  async #leave(): Promise<void> {
    const folder = this.#open.pop();
    if (!folder) return;
    for (const name of folder.extra ?? [])
      await this.#removals.remove(folder.path, name, folder.taken, (action) => this.#actions.push(action));
    this.#ignoring.leave(folder.path);
  }

  /** No promise where there is nothing to wait for. */
  #entry(entry: Entry): Promise<void> | undefined {
    const folder = this.#open[this.#open.length - 1];
    if (!folder) return undefined;
    if (entry.type === 'rules') {
      if (entry.rules) this.#ignoring.inherit(entry.path, entry.rules);
      return undefined;
    }
    const name = lastName(entry.path);
    folder.extra?.delete(name);
    if (folder.state === 'refused') {
      const why = this.#options.heldBack?.(entry) ?? 'its folder cannot be made';
      return this.#done(entry, refuse(entry, why), undefined);
    }
    const twin = this.#twin(folder, name);
    if (twin !== undefined)
      return this.#done(entry, refuse(entry, `it and ${JSON.stringify(twin)} are one name there`), undefined);
    let there: There | undefined;
    try {
      there = folder.state === 'there' ? this.#look(entry) : undefined;
    } catch (error) {
      return this.#done(entry, refuse(entry, systemError(entry.path, error).message), undefined);
    }
    const now = there && typeOf(there.stat);
    if (now === 'directory' && entry.type !== 'directory' && entry.type !== 'other' && this.#options.delete)
      return this.#makeWay(entry, folder);
    if (this.#options.checksum && now === 'file' && entry.sha256 && there?.stat.size === entry.size)
      return this.#digested(entry, there, entry.sha256);
    const action = actionFor(entry, there, undefined);
    if (action?.do === 'link' && !linkStaysInside(this.#root, entry.path, entry.target ?? ''))
      return this.#done(entry, refuse(entry, 'it leads out of the tree, over a link that is there'), there);
    return this.#done(entry, action, there);
  }

  #done(entry: Entry, found: Action | undefined, there: There | undefined): Promise<void> | undefined {
    const why = found && found.do !== 'refuse' ? this.#options.heldBack?.(entry) : undefined;
    const action = why === undefined ? found : refuse(entry, why);
    if (action) this.#actions.push(action);
    if (entry.type !== 'directory') return undefined;
    const isThere = there !== undefined && typeOf(there.stat) === 'directory';
    const state = isThere ? 'there' : action?.do === 'refuse' ? 'refused' : 'missing';
    const parent = this.#open[this.#open.length - 1]?.taken ?? 'in';
    const taken = this.#options.delete ? this.#ignoring.verdict(entry.path, true, parent) : 'in';
    // One that is ignored here and was told all the same: what else is in it is not for others to remove.
    const folder = this.#folder(entry.path, state, taken === 'out' ? 'pass' : taken);
    this.#open.push(folder);
    return folder.extra && this.#ignoring.enter(entry.path, [...folder.extra]);
  }

  async #digested(entry: Entry, there: There, sha256: Uint8Array): Promise<void> {
    const now = await digestOf(absoluteOf(this.#root, entry.path), this.#options.signal).catch(
      (error: unknown) => {
        if (errnoOf(error) === undefined) throw error;
        return undefined;
      },
    );
    const same = now !== undefined && Buffer.compare(now, sha256) === 0;
    this.#done(entry, actionFor(entry, there, same), there);
  }

  /** A folder where a file is to be: it goes where all that is in it may. */
  async #makeWay(entry: Entry, folder: Folder): Promise<void> {
    const gone = await this.#removals.remove(folder.path, lastName(entry.path), folder.taken, (action) =>
      this.#actions.push(action),
    );
    this.#done(
      entry,
      gone
        ? actionFor(entry, undefined, undefined)
        : refuse(entry, 'a folder is in its place, and something in it stays'),
      undefined,
    );
  }

  /** The name that was told before and is the same to the file system. */
  #twin({ folded }: Folder, name: BytePath): BytePath | undefined {
    if (!folded) return undefined;
    const key = foldedName(name);
    const before = folded.get(key);
    if (before === undefined) folded.set(key, name);
    return before;
  }

  #look({ path }: Entry): There | undefined {
    const absolute = absoluteOf(this.#root, path);
    const stat = lookAt(absolute);
    return stat && { stat, target: stat.isSymbolicLink() ? targetOf(absolute) : undefined };
  }

  #folder(path: BytePath, state: Folder['state'], taken: Taken): Folder {
    const reads = this.#options.delete && state === 'there';
    return {
      path,
      state,
      taken,
      extra: reads ? new Set(readNames(absoluteOf(this.#root, path))) : undefined,
      folded: this.#folds ? new Map() : undefined,
    };
  }
}

/** Undefined: it is to be made. */
function realRoot(root: BytePath): BytePath | undefined {
  try {
    const real = realpathSync(systemPath(root), { encoding: 'latin1' as BufferEncoding });
    if (statSync(systemPath(real)).isDirectory()) return real;
    throw nameError('not_directory', root, 'it is not a directory');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw systemError(root, error);
  }
}

/** What cannot be read has nothing that is removed. */
function readNames(absolute: BytePath): BytePath[] {
  try {
    return namesOf(absolute);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return [];
  }
}
