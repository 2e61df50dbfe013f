import { statfs } from 'node:fs/promises';

/** statfs(2): file systems that answer without another host or process: ext, xfs, btrfs, tmpfs, overlay, zfs, f2fs, ramfs. */
const localTypes: ReadonlySet<number> = new Set([
  0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630, 0x2fc12fc1, 0xf2f52010, 0x858458f6,
]);
const maxKnown = 256;

/** Folders of which it is known that a look at them does not wait: for those a thread would take longer than the look. */
export class LocalFolders {
  readonly #known = new Set<string>();

  has(path: string): boolean {
    return this.#known.has(path);
  }

  /** For the next time. */
  async learn(path: string): Promise<void> {
    try {
      if (!localTypes.has((await statfs(path)).type)) return;
    } catch {
      return;
    }
    if (this.#known.size >= maxKnown) this.#known.clear();
    this.#known.add(path);
  }
}
