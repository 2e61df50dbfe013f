import { lstatSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Repository } from './repository.ts';

/** What the objects of all snapshots of one repository may take; over it they are made anew. */
const maxStoreBytes = 1024 * 1024 * 1024;
const maxStoreObjects = 20_000;

/**
 * Where the objects of snapshots are: in our cache, never in the repository. That they stay is why the second run of a
 * changed tree sends only what is new. May be deleted at any time.
 */
export class SnapshotStore {
  readonly #dir: string;

  /** `cache`: of this user's codex-remote. */
  constructor(cache: string, repository: Repository) {
    this.#dir = join(cache, 'git', repository.key);
  }

  get objects(): string {
    return join(this.#dir, 'objects');
  }

  /** Whether there was a snapshot. */
  get exists(): boolean {
    return lstatSync(this.objects, { throwIfNoEntry: false }) !== undefined;
  }

  /** Makes it where it is not there, and anew where it has grown too large. */
  open(): void {
    if (isLarge(this.objects)) {
      // Away at once: a pack under way in another process ends with an error that it may repeat, not with half of one.
      const old = `${this.#dir}.old-${process.pid}`;
      renameSync(this.#dir, old);
      rmSync(old, { recursive: true, force: true });
    }
    this.#sweep();
    mkdirSync(join(this.objects, 'pack'), { recursive: true, mode: 0o700 });
  }

  /** A folder of one run, removed by who asked for it. */
  scratch(): string {
    const dir = join(this.#dir, `${scratchPrefix}${process.pid}-${scratches++}`);
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    return dir;
  }

  /** Removes what runs left that were ended in the middle. */
  #sweep(): void {
    for (const name of entriesOf(this.#dir)) {
      const pid = name.startsWith(scratchPrefix) ? Number.parseInt(name.slice(scratchPrefix.length), 10) : 0;
      if (pid > 0 && pid !== process.pid && !isAlive(pid))
        rmSync(join(this.#dir, name), { recursive: true, force: true });
    }
  }
}

const scratchPrefix = 'tmp-';
let scratches = 0;

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

function isLarge(objects: string): boolean {
  let [bytes, count] = [0, 0];
  for (const fan of entriesOf(objects))
    for (const name of entriesOf(join(objects, fan))) {
      bytes += lstatSync(join(objects, fan, name), { throwIfNoEntry: false })?.size ?? 0;
      count += 1;
      if (bytes > maxStoreBytes || count > maxStoreObjects) return true;
    }
  return false;
}

function entriesOf(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}
