import { existsSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { WorktreeSpec } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import {
  type CheckoutOptions,
  checkOut,
  linkWorktree,
  makeRoot,
  removeUnknown,
  type Tree,
} from './checkout.ts';
import type { Mirror } from './mirror.ts';
import { removedName } from './removed-name.ts';

/** The files of one workspace: the directory, and beside it what no job sees. No name of a workspace begins with a dot. */
export interface WorkspaceFiles extends Tree {
  /** The commit that is being checked out; there only while that goes on, or where it was ended in the middle. */
  readonly making: string;
}

/** `folder`: of the project's workspaces. */
export function workspaceFiles(folder: string, name: string, mirror: Mirror): WorkspaceFiles {
  const beside = (what: string) => join(folder, `.${name}.${mirror.format}.${what}`);
  return { directory: join(folder, name), index: beside('index'), making: beside('making') };
}

/** Name of its worktree in the mirror: exec ids have no plus. */
export function workspaceLink(name: string): string {
  return `+${name}`;
}

/**
 * Makes the files of a workspace those of the commit, and leaves there what no commit of it had. One at a time: the caller
 * has the lease. One that was ended in the middle is finished first, so that nothing of its commit stays as if a job had
 * left it. Returns the name of an old directory that has to be removed, where there was one that could not be used.
 * Throws as `checkOut`.
 */
export async function prepareWorkspace(
  mirror: Mirror,
  folder: string,
  name: string,
  spec: Pick<WorktreeSpec, 'commit' | 'clean'>,
  options: CheckoutOptions,
): Promise<string | undefined> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const files = workspaceFiles(folder, name, mirror);
  let away = (await isUsable(mirror, files, options)) ? undefined : startAnew(folder, files, options);
  writeFileSync(files.making, `${spec.commit}\n`);
  try {
    await checkOut(mirror, spec.commit, files, options);
  } catch (error) {
    // Nothing that is there is to be kept, or an index that cannot be read says nothing of it.
    if (away !== undefined || !(spec.clean ? isGitFailure(error) : isBadIndex(error))) throw error;
    away = startAnew(folder, files, options);
    writeFileSync(files.making, `${spec.commit}\n`);
    await checkOut(mirror, spec.commit, files, options);
  }
  if (spec.clean) await removeUnknown(mirror, files, options.signal);
  linkWorktree(mirror, workspaceLink(name), spec.commit, files, files.directory);
  rmSync(files.making);
  return away;
}

/** Whether the index tells what is there. Finishes what was ended in the middle. */
async function isUsable(mirror: Mirror, files: WorkspaceFiles, options: CheckoutOptions): Promise<boolean> {
  const directory = lstatSync(files.directory, { throwIfNoEntry: false });
  if (!directory?.isDirectory()) return false;
  const making = existsSync(files.making) ? readFileSync(files.making, 'latin1').trim() : undefined;
  if (making === undefined) return existsSync(files.index);
  try {
    await checkOut(mirror, making, files, options);
    return true;
  } catch (error) {
    if (isGitFailure(error)) return false;
    throw error;
  }
}

/** What is there is out of the way at once; its name is returned, where there was something. */
function startAnew(folder: string, files: WorkspaceFiles, { umask }: CheckoutOptions): string | undefined {
  rmSync(files.index, { force: true });
  rmSync(files.making, { force: true });
  const away = join(folder, removedName());
  const there = lstatSync(files.directory, { throwIfNoEntry: false });
  if (there) renameSync(files.directory, away);
  makeRoot(files.directory, umask);
  return there && away;
}

function isGitFailure(error: unknown): error is RemoteError {
  return error instanceof RemoteError && error.code === 'git_failed';
}

function isBadIndex(error: unknown): boolean {
  return isGitFailure(error) && /index file|bad signature|bad index|unknown index/i.test(error.message);
}
