import { closeSync, constants, fsync, mkdirSync, openSync, renameSync, rmdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { ExecFolder } from './folder.ts';
import type { StoredSpec } from './stored.ts';

/** Named moments of a start at which tests end the process. */
export type Failpoint = 'after_mkdir' | 'after_gate' | 'before_go' | 'after_go';

/**
 * The one way into `execs/`: a mkdir that fails when the id exists, whatever else goes wrong. The staged folder then
 * takes the place of the empty one.
 */
export class Gate {
  readonly #execsFd: number;
  readonly #failpoint: (name: Failpoint) => void;

  constructor(execs: string, failpoint: (name: Failpoint) => void) {
    this.#execsFd = openSync(execs, constants.O_RDONLY | constants.O_DIRECTORY);
    this.#failpoint = failpoint;
  }

  /**
   * Moves `staged` to its place with its spec. The promise resolves when the acceptance is on disk. Throws `conflict` when
   * the id is taken, or what the system said; then nothing of it is in `execs/`.
   */
  enter(staged: string, folder: ExecFolder, spec: StoredSpec): Promise<void> {
    const specFd = openSync(join(staged, 'spec.json'), 'wx', 0o600);
    let folderFd: number | undefined;
    try {
      writeWhole(specFd, Buffer.from(JSON.stringify(spec)));
      makeFolder(folder);
      this.#failpoint('after_mkdir');
      try {
        renameSync(staged, folder.path);
      } catch (error) {
        rmdirSync(folder.path);
        throw error;
      }
      this.#failpoint('after_gate');
      folderFd = openSync(folder.path, constants.O_RDONLY | constants.O_DIRECTORY);
    } catch (error) {
      closeSync(specFd);
      throw error;
    }
    return this.#settle(specFd, folderFd);
  }

  close(): void {
    closeSync(this.#execsFd);
  }

  /** Side by side the three share one commit of the file system's journal. */
  async #settle(specFd: number, folderFd: number): Promise<void> {
    const synced = await Promise.allSettled([sync(specFd), sync(folderFd), sync(this.#execsFd)]);
    closeSync(specFd);
    closeSync(folderFd);
    for (const result of synced) if (result.status === 'rejected') throw result.reason;
  }
}

function makeFolder(folder: ExecFolder): void {
  try {
    mkdirSync(folder.path, 0o700);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    throw new RemoteError('conflict', `conflict: a folder of exec ${folder.id} exists already`, {
      exec_id: folder.id,
    });
  }
}

function writeWhole(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.byteLength; ) at += writeSync(fd, bytes, at);
}

function sync(fd: number): Promise<void> {
  return new Promise((resolve, reject) => fsync(fd, (error) => (error ? reject(error) : resolve())));
}
