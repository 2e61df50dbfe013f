import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { gitFailed } from '@codex-remote/platform/git';
import { copyIndex, type Tree, withoutFilters } from './checkout.ts';
import type { Mirror } from './mirror.ts';

/** What a directory holds, as objects of the mirror. */
export interface ResultTree {
  readonly tree: string;
  /** What git said of files that it could not read; they are in it as before. */
  readonly skipped?: string;
}

/** What is kept of that. */
const maxSkippedChars = 1000;

/**
 * Writes what is in the directory into the mirror: all that the index knows as it is now, and what it does not know and is
 * not ignored. Only files that are others than when the index was written are read. Nothing of the directory changes, the
 * index neither; `scratch` is a folder of ours. Throws `git_failed`, `disk_low`, `cancelled`.
 */
export async function writeResultTree(
  mirror: Mirror,
  { directory, index }: Tree,
  scratch: string,
  signal?: AbortSignal,
): Promise<ResultTree> {
  const own = mkdtempSync(join(scratch, 'result-'));
  try {
    const indexFile = join(own, 'index');
    copyIndex(index, indexFile);
    const git = await mirror.git();
    // All that is written is on disk by one sync.
    const durable = { 'core.fsync': 'committed', 'core.fsyncMethod': 'batch' };
    const config = { ...durable, ...(await withoutFilters(mirror)) };
    const call = (args: readonly string[]) =>
      mirror.call(args, { cwd: directory, workTree: directory, indexFile, config });
    // One file that cannot be read is no reason to tell nothing of the others.
    const add = call(['add', '--all', '--ignore-errors', '--', '.']);
    const added = await git.ask(add, { signal });
    const isFull = /No space left on device|Disk quota exceeded/.test(added.stderr);
    if (added.code !== 0 && (added.code !== 1 || isFull)) throw gitFailed(add, added);
    const tree = await git.line(call(['write-tree']), { signal });
    return added.code === 0 ? { tree } : { tree, skipped: added.stderr.trim().slice(0, maxSkippedChars) };
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
}
