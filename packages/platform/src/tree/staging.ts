import { createHash } from 'node:crypto';
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  type Stats,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { ProcessTable } from '../process-identity.ts';
import type { BytePath, Entry } from './entry.ts';
import type { Folders } from './folders.ts';
import { stagingName } from './names.ts';
import { errnoOf, nameError } from './tree-error.ts';

/** Parts that nobody came back for. */
const keptMs = 7 * 24 * 60 * 60 * 1000;

const host = createHash('sha256').update(hostname()).digest('hex').slice(0, 12);
const ignoreFile = '.gitignore';
const partName = /^p-[0-9a-f]{40}$/;
const workName = /^w-([0-9a-f]{40})-([0-9a-f]{12})-(\d+)-(\d+)-(\d+)$/;
/** Of this process, in use now. */
const inUse = new Set<string>();
let made = 0;

/**
 * The folder in a tree where files lie until they are whole. A part that is worked on has the name of its process, so that two
 * who send one file to one tree have a part each; one that was left, or whose process has ended, is taken up by whoever is sent
 * the same file.
 */
export class Staging {
  readonly #folders: Folders;
  readonly #table = new ProcessTable();
  readonly #self: string;

  /** Makes it. Throws what the system says, `file_exists` where the name is something else. */
  constructor(folders: Folders) {
    this.#folders = folders;
    this.#make();
    const start = this.#table.stat(process.pid)?.start ?? 0;
    this.#self = `${host}-${process.pid}-${start}`;
    this.#sweep();
  }

  /** `work` makes something in the folder: again where another who is done with the tree has removed it, which was empty. */
  making<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      this.#make();
      return work();
    }
  }

  #make(): void {
    this.#folders.forget(stagingName);
    const path = this.#folders.at(stagingName);
    try {
      mkdirSync(path, 0o700);
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
    const there = lstatSync(path);
    if (!there.isDirectory() || (process.getuid && there.uid !== process.getuid()))
      throw nameError(
        'file_exists',
        stagingName,
        'it is not the folder for half-written files that it is to be',
      );
    this.#hide();
  }

  /** Whoever asks git what is new in the tree is not told of it, whatever ends us. What has the name is left, a link too. */
  #hide(): void {
    const path = this.at(ignoreFile);
    try {
      writeFileSync(path, '*\n', { flag: 'wx' });
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return;
      // On a full disk it is seen: half of it would be kept, and hide nothing.
      rmSync(path, { force: true });
    }
  }

  /** Bytes of `entry` that a run before has left. */
  partBytes(entry: Entry): number {
    const name = this.#left(keyOf(entry));
    return name === undefined ? 0 : Math.min(entry.size, this.#stat(name)?.size ?? 0);
  }

  /** A name for the content of `entry` that is ours alone; what a run before has left has it now. */
  claim(entry: Entry): string {
    const key = keyOf(entry);
    const work = this.#fresh(key);
    const left = this.#left(key);
    if (left === undefined) return work;
    try {
      renameSync(this.at(left), this.at(work));
    } catch (error) {
      // Somebody else was quicker.
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
    return work;
  }

  /** A name for something that is in its place at once. */
  fresh(): string {
    return `t-${this.#self}-${++made}`;
  }

  /** For whoever is sent the same. */
  leave(work: string): void {
    const key = workName.exec(work)?.[1];
    inUse.delete(work);
    if (key === undefined) return;
    renameSync(this.at(work), this.at(`p-${key}`));
  }

  /** It has its name in the tree, or is not wanted. */
  done(work: string): void {
    inUse.delete(work);
  }

  discard(work: string): void {
    inUse.delete(work);
    rmSync(this.at(work), { force: true });
  }

  at(name: string): string | Buffer {
    return this.#folders.in(stagingName, name);
  }

  /** Nothing of it stays in the tree where nothing is left. */
  close(): void {
    try {
      if (this.#names().every((name) => name === ignoreFile)) rmSync(this.at(ignoreFile), { force: true });
      rmdirSync(this.#folders.at(stagingName));
    } catch {
      // There are parts in it, or it is gone.
    }
  }

  #fresh(key: string): string {
    const work = `w-${key}-${this.#self}-${++made}`;
    inUse.add(work);
    return work;
  }

  #left(key: string): string | undefined {
    const part = `p-${key}`;
    if (this.#stat(part)) return part;
    return this.#names().find((name) => workName.exec(name)?.[1] === key && this.#isOrphan(name));
  }

  #names(): string[] {
    try {
      return readdirSync(this.#folders.itself(stagingName), { encoding: 'latin1' as BufferEncoding });
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      return [];
    }
  }

  /** Its process has ended, as far as this host can tell. */
  #isOrphan(work: string): boolean {
    const [, , where, pid, start] = workName.exec(work) ?? [];
    if (where !== host || inUse.has(work)) return false;
    if (`${where}-${pid}-${start}` === this.#self) return true;
    if (start !== '0') return !this.#table.isAlive({ pid: Number(pid), start: Number(start) });
    try {
      process.kill(Number(pid), 0);
      return false;
    } catch (error) {
      return errnoOf(error) === 'ESRCH';
    }
  }

  #stat(name: string): Stats | undefined {
    const stat = lstatSync(this.at(name), { throwIfNoEntry: false });
    return stat?.isFile() && stat.nlink === 1 ? stat : undefined;
  }

  #sweep(): void {
    for (const name of this.#names()) {
      const stat = lstatSync(this.at(name), { throwIfNoEntry: false });
      const old = stat !== undefined && Date.now() - stat.mtimeMs > keptMs;
      if (old && (partName.test(name) || /^[wt]-/.test(name))) rmSync(this.at(name), { force: true });
    }
  }
}

/** The same for the same state of one file of the source. */
function keyOf({ path, size, mtimeUs }: Pick<Entry, 'size' | 'mtimeUs'> & { path: BytePath }): string {
  return createHash('sha256').update(`${size} ${mtimeUs} `).update(path, 'latin1').digest('hex').slice(0, 40);
}
