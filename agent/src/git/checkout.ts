import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Mirror } from './mirror.ts';

/** A directory with the files of a commit, and the index that says what was written to it. */
export interface Tree {
  /** Absolute; it is there. */
  readonly directory: string;
  /** Ours: a job does not see it, so what it says of files was true when they were written. */
  readonly index: string;
}

export interface CheckoutOptions {
  /** Of the files that are made: that of the user's login. */
  readonly umask: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Makes the files of `directory` those of `commit`: what the index knows and is another now is written anew, what it knows
 * and the commit does not have is removed, and what it does not know stays, unless it is in the way. Half of it may be done
 * when it throws `git_failed`, `disk_low` or `cancelled`; the index is the old one then.
 */
export async function checkOut(
  mirror: Mirror,
  commit: string,
  { directory, index }: Tree,
  { umask, signal }: CheckoutOptions,
): Promise<void> {
  // Who holds the index is gone: it is ours alone.
  rmSync(`${index}.lock`, { force: true });
  const git = await mirror.git();
  const call = mirror.call(['read-tree', '--reset', '-u', commit], {
    ...{ cwd: directory, workTree: directory, indexFile: index, umask },
    config: { 'checkout.workers': '0', ...(await withoutFilters(mirror)) },
  });
  try {
    await git.run(call, { signal });
  } catch (error) {
    throw (await isFull(mirror, commit, directory, error)) ? fullDisk(error) : error;
  }
}

/** Git does not say why it could not write a file: there is no room where the disk has less than its size. */
async function isFull(mirror: Mirror, commit: string, directory: string, error: unknown): Promise<boolean> {
  if (!(error instanceof RemoteError) || error.code !== 'git_failed') return false;
  const said = String(error.details.facts?.git_stderr);
  const path = /unable to write file '?(.+?)'?$/m.exec(said)?.[1];
  if (path === undefined) return /unable to write new index file/.test(said);
  const size = await (await mirror.git()).ask(mirror.call(['cat-file', '-s', `${commit}:${path}`]));
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize < (Number(size.stdout.toString('latin1')) || 0) + blockBytes;
}

/** Of a file system: what the last part of a file takes. */
const blockBytes = 64 * 1024;

function fullDisk(cause: unknown): RemoteError {
  const { details } = RemoteError.from(cause);
  return new RemoteError(
    'disk_low',
    'the files of the commit do not fit the disk of the machine',
    details,
    cause,
  );
}

/** The directory that a commit is checked out into, with the permissions that its user would give it. */
export function makeRoot(directory: string, umask: number): void {
  mkdirSync(directory, { recursive: true });
  chmodSync(directory, 0o777 & ~umask);
}

/** Removes what the index does not know, ignored files and repositories of others among it. Throws as `checkOut`. */
export async function removeUnknown(
  mirror: Mirror,
  { directory, index }: Tree,
  signal?: AbortSignal,
): Promise<void> {
  const call = mirror.call(['clean', '-q', '-ffdx'], {
    ...{ cwd: directory, workTree: directory, indexFile: index },
  });
  await (await mirror.git()).run(call, { signal });
}

/**
 * Makes `directory` a worktree of the mirror as a job expects one: `git status`, `git log`, `git diff` work in it, HEAD is
 * the commit, on no branch. Whatever an earlier job made of it (a branch, half a merge, a lock) is gone. `place` is where
 * the directory will be, `name` one that no other worktree of the mirror has.
 */
export function linkWorktree(mirror: Mirror, name: string, commit: string, tree: Tree, place: string): void {
  const admin = join(mirror.path, 'worktrees', name);
  rmSync(admin, { recursive: true, force: true });
  mkdirSync(admin, { recursive: true });
  writeFileSync(join(admin, 'HEAD'), `${commit}\n`);
  writeFileSync(join(admin, 'commondir'), '../..\n');
  writeFileSync(join(admin, 'gitdir'), `${join(place, '.git')}\n`);
  copyIndex(tree.index, join(admin, 'index'));
  const link = join(tree.directory, '.git');
  const fresh = join(tree.directory, `.git-${name}`);
  writeFileSync(fresh, `gitdir: ${admin}\n`);
  if (lstatSync(link, { throwIfNoEntry: false })?.isDirectory()) rmSync(link, { recursive: true });
  renameSync(fresh, link);
}

export function unlinkWorktree(mirror: Mirror, name: string): void {
  rmSync(join(mirror.path, 'worktrees', name), { recursive: true, force: true });
}

/**
 * A file that is not older than the index in which it stands is looked at closely by git: the copy must not be younger than
 * what it is a copy of. Microseconds are what Node can set; the one that may be lost is on the careful side.
 */
export function copyIndex(from: string, to: string): void {
  if (!existsSync(from)) return;
  copyFileSync(from, to);
  const { mtimeMs } = statSync(from);
  const seconds = mtimeMs / 1000 - 1e-6;
  utimesSync(to, seconds, seconds);
}

/**
 * Configuration by which no filter of the mirror's runs: a job may have set some there, for itself. What is checked out has
 * the bytes of the commit.
 */
export async function withoutFilters(mirror: Mirror): Promise<Record<string, string>> {
  const file = join(mirror.path, 'config');
  if (!/filter|include/i.test(readFileSync(file, 'utf8'))) return {};
  const call = mirror.call([
    'config',
    '--file',
    file,
    '--includes',
    '--name-only',
    '-z',
    '--get-regexp',
    '^filter\\.',
  ]);
  const { stdout } = await (await mirror.git()).ask(call);
  const names = stdout.toString('utf8').split('\0').filter(Boolean);
  const drivers = new Set(names.map((name) => name.slice(0, name.lastIndexOf('.'))));
  return Object.fromEntries(
    [...drivers].flatMap((driver) => [
      [`${driver}.smudge`, ''],
      [`${driver}.clean`, ''],
      [`${driver}.process`, ''],
      [`${driver}.required`, 'false'],
    ]),
  );
}
