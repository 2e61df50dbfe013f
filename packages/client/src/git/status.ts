/** How the working tree differs from HEAD. Paths are bytes, one character a byte (latin1). */
export interface TreeStatus {
  /** HEAD, index and files say the same. */
  readonly clean: boolean;
  /** Tracked, and not as in the index: changed, gone, of another type, or in conflict. */
  readonly changed: readonly string[];
  /** Neither tracked nor ignored. */
  readonly untracked: readonly string[];
  /** Folders with a repository of their own that is no submodule. */
  readonly nested: readonly string[];
}

/** Ended by NUL each: two letters for index and file, a space, the path. */
export const statusArgs = [
  'status',
  '--porcelain=v1',
  '-z',
  '--untracked-files=all',
  '--no-renames',
  // Nothing is run inside of a submodule: its configuration is another one.
  '--ignore-submodules=dirty',
] as const;

export function readStatus(output: Buffer): TreeStatus {
  const changed: string[] = [];
  const untracked: string[] = [];
  const nested: string[] = [];
  const entries = output.toString('latin1').split('\0').filter(Boolean);
  for (const entry of entries) {
    const [path, file] = [entry.slice(3), entry[1]];
    if (!entry.startsWith('??')) {
      if (file !== ' ') changed.push(path);
    } else (path.endsWith('/') ? nested : untracked).push(path);
  }
  return { clean: entries.length === nested.length, changed, untracked, nested };
}

/** A path for people and JSON: UTF-8, or with U+FFFD where it is none. */
export function shownPath(path: string): string {
  return Buffer.from(path, 'latin1').toString('utf8');
}
