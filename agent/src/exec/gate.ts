import { closeSync, constants, fsync, lstatSync, openSync, renameSync } from 'node:fs';
import { failpoint } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { ExecFolder } from '../folder/folder.ts';
import { writeLine } from '../folder/journal.ts';
import type { StoredSpec } from '../folder/stored.ts';

/**
 * The one way into `execs/`, and into `queued/` for what waits there first: a rename of a whole staged folder, which the
 * system refuses when a folder of that name has anything in it (rename(2): ENOTEMPTY or EEXIST). Unlike a mkdir it never
 * shows an exec without its spec, and it makes no inode.
 */
export class Gate {
  readonly #dirFd: number;

  /** `dir` is where folders are let in. */
  constructor(dir: string) {
    this.#dirFd = openSync(dir, constants.O_RDONLY | constants.O_DIRECTORY);
  }

  /**
   * Moves `staged` to its place with its spec, written to its `journal`. Resolves when the acceptance is on disk. Rejects
   * with `conflict` when the id is taken, or with what the system said; `entered` tells whether the folder is in place.
   */
  async enter(staged: string, journal: number, folder: ExecFolder, spec: StoredSpec): Promise<void> {
    // Before it has its name: where there is no descriptor left, nothing has happened.
    const folderFd = openSync(staged, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      failpoint('agent.spec.before');
      writeLine(journal, { spec });
      moveIn(staged, folder);
      failpoint('agent.spec.renamed');
      // Side by side the three share one commit of the file system's journal.
      const synced = await Promise.allSettled([sync(journal), sync(folderFd), sync(this.#dirFd)]);
      for (const result of synced) if (result.status === 'rejected') throw result.reason;
    } finally {
      closeSync(folderFd);
    }
    failpoint('agent.spec.after');
  }

  close(): void {
    closeSync(this.#dirFd);
  }
}

function moveIn(staged: string, folder: ExecFolder): void {
  // A rename would replace an empty folder: what someone left of an exec by removing its files.
  if (lstatSync(folder.path, { throwIfNoEntry: false })) throw takenId(folder.id);
  try {
    renameSync(staged, folder.path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    throw code === 'ENOTEMPTY' || code === 'EEXIST' ? takenId(folder.id, error) : error;
  }
}

export function takenId(id: string, cause?: unknown): RemoteError {
  return new RemoteError(
    'conflict',
    `conflict: a folder of exec ${id} exists already`,
    { exec_id: id },
    cause,
  );
}

function sync(fd: number): Promise<void> {
  return new Promise((resolve, reject) => fsync(fd, (error) => (error ? reject(error) : resolve())));
}
