import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ProcessIdentity, ProcessTable } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import { createFiles } from '../folder/folder.ts';
import { type GatedShim, type JobStart, type ShimTools, spawnShim } from './spawn.ts';

/** A gated shim in a folder that is not an exec's yet. Who has it moves the folder to its place, or `discard`s it. */
export interface StagedShim {
  readonly path: string;
  /** Open for appending; whoever moves or discards the folder closes it. */
  readonly journal: number;
  readonly shim: GatedShim;
  readonly identity: ProcessIdentity;
  readonly logInodes: { readonly stdout: number; readonly stderr: number };
  /** Starts the job: the one that was given, or this one where none was. */
  open(job: JobStart): void;
}

export interface StageOptions {
  readonly env: Readonly<Record<string, string>>;
  readonly umask: number;
  readonly merge: boolean;
  /** Open for reading; closed here on every path. Absent: /dev/null. */
  readonly stdin?: number;
  readonly job?: JobStart;
}

/** Makes folders and shims under `dir`, all of it gone again when something fails. */
export class ShimFactory {
  readonly #dir: string;
  readonly #tools: ShimTools;
  readonly #table: ProcessTable;

  constructor(dir: string, tools: ShimTools, table: ProcessTable) {
    this.#dir = dir;
    this.#tools = tools;
    this.#table = table;
  }

  /** A folder with the files of an exec and no shim; the caller closes `journal`. */
  async stageFolder(): Promise<{ path: string; journal: number }> {
    const path = await this.#fresh();
    try {
      const { journal, ...files } = await createFiles(path);
      for (const fd of Object.values(files)) closeSync(fd);
      return { path, journal };
    } catch (error) {
      removeStaged(path);
      throw asRefusal(error);
    }
  }

  /** Throws `args_too_long`, `fds_exhausted`, `disk_low`, `state_unusable`: nothing has been accepted. */
  async stage(options: StageOptions): Promise<StagedShim> {
    const open: number[] = options.stdin === undefined ? [] : [options.stdin];
    let path: string | undefined;
    let journal: number | undefined;
    try {
      path = await this.#fresh();
      const { journal: journalFd, ...files } = await createFiles(path);
      journal = journalFd;
      open.push(...Object.values(files));
      const stdin = options.stdin ?? openSync('/dev/null', constants.O_RDONLY);
      if (options.stdin === undefined) open.push(stdin);
      const shim = await spawnShim({
        tools: this.#tools,
        folder: path,
        files: { ...files, stdin },
        env: options.env,
        umask: options.umask,
        merge: options.merge,
        ...(options.job && { job: options.job }),
      });
      const stat = this.#table.stat(shim.pid);
      if (!stat) throw new RemoteError('state_unusable', 'the shim ended before it was started');
      const isSpare = options.job === undefined;
      return {
        path,
        journal,
        shim,
        identity: { pid: stat.pid, start: stat.start },
        logInodes: { stdout: fstatSync(files.stdout).ino, stderr: fstatSync(files.stderr).ino },
        open: (job) => (isSpare ? shim.take(job) : shim.go()),
      };
    } catch (error) {
      if (journal !== undefined) closeSync(journal);
      if (path) removeStaged(path);
      throw asRefusal(error);
    } finally {
      for (const fd of open) closeSync(fd);
    }
  }

  /** Nothing of it has run or ever will. */
  discard(staged: StagedShim): void {
    staged.shim.abort();
    closeSync(staged.journal);
    removeStaged(staged.path);
  }

  async #fresh(): Promise<string> {
    const path = join(this.#dir, randomBytes(9).toString('hex'));
    await mkdir(path, 0o700);
    return path;
  }
}

/** What cannot be removed now, as without a descriptor, is swept when the next agent starts. */
function removeStaged(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    // It holds nothing that was accepted.
  }
}

/** What the system's refusal means to the caller: nothing was accepted, and whether trying again can help. */
export function asRefusal(error: unknown): RemoteError {
  if (error instanceof RemoteError) return error;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new RemoteError('disk_low', 'the disk of the machine is full', { sent: 'no' }, error);
    case 'EMFILE':
    case 'ENFILE':
    case 'EAGAIN':
    case 'ENOMEM':
      return new RemoteError(
        'fds_exhausted',
        `the machine cannot start another process: ${code}`,
        { sent: 'no' },
        error,
      );
    case 'EFBIG':
      return new RemoteError(
        'state_unusable',
        'a file of the agent is over the limit of the system (EFBIG), see `ulimit -f` on the machine',
        { hint: 'raise the limit for the account there, then `codex-remote machine up`', sent: 'no' },
        error,
      );
    case 'E2BIG':
      return new RemoteError(
        'args_too_long',
        'argv and environment are over what the system can start',
        {},
        error,
      );
    default:
      return new RemoteError('state_unusable', `the agent cannot use its folder: ${String(code)}`, {}, error);
  }
}
