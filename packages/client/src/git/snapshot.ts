import { copyFileSync, lstatSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type GitCall, streamedBlobs } from '@codex-remote/platform/git';
import { RemoteError } from '@codex-remote/protocol/wire';
import { readCommit } from './commit.ts';
import type { Repository } from './repository.ts';
import type { SnapshotStore } from './snapshot-store.ts';
import { readStatus, shownPath, statusArgs, type TreeStatus } from './status.ts';

/** The ref by which the files are meant as they are. */
export const worktreeRef = 'WORKTREE';
/** An untracked file over this size is rather data than source: it is sent only where that is wanted. */
export const largeFileBytes = 10 * 1024 * 1024;
/** Names in an error. */
const maxNamed = 20;

export interface Snapshot {
  readonly commit: string;
  readonly tree: string;
  /** False where the files are those of HEAD: then it is HEAD. */
  readonly dirty: boolean;
  /** HEAD; absent where nothing was ever committed. */
  readonly base?: string;
  /** Folders that are left out: each has a repository of its own. */
  readonly nested: readonly string[];
}

export interface SnapshotOptions {
  readonly includeLarge?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * HEAD with everything on top that is staged, changed, or new and not ignored, as a commit of which the repository knows
 * nothing: index, branches, stash and files stay as they are, and its objects are in `store`. The same files on the same HEAD
 * give the same commit. Throws `not_repository` without a working tree, `unknown_ref` where there is nothing at all,
 * `too_large` for large untracked files, `git_failed`.
 */
export async function snapshotOf(
  repository: Repository,
  store: SnapshotStore,
  { includeLarge = false, signal }: SnapshotOptions = {},
): Promise<Snapshot> {
  const { git, root } = repository;
  if (root === undefined)
    throw new RemoteError(
      'not_repository',
      `${repository.gitDir} has no working tree to take a snapshot of`,
      {
        sent: 'no',
        hint: 'give a branch, tag or commit as --ref',
      },
    );
  const call = await repository.call();
  const [status, head] = await Promise.all([
    git.run({ ...call, args: [...statusArgs] }, { signal }).then(readStatus),
    readCommit(git, call, 'HEAD', { signal }),
  ]);
  if (head && status.clean)
    return { commit: head.commit, tree: head.tree, dirty: false, base: head.commit, nested: status.nested };
  if (!includeLarge) refuseLarge(root, status.untracked);
  store.open();
  const scratch = store.scratch();
  try {
    const made = { ...call, ...storedIn(store, repository), config: { ...call.config, ...writing } };
    const tree = await treeOf(repository, { ...made, indexFile: join(scratch, 'index') }, status, signal);
    if (head && tree === head.tree)
      return { commit: head.commit, tree, dirty: false, base: head.commit, nested: status.nested };
    const parents = head ? ['-p', head.commit] : [];
    const args = ['commit-tree', ...parents, '-m', 'Changes that were not committed', tree];
    const commit = await git.line({ ...made, args, env: authored(head?.date ?? '0 +0000') }, { signal });
    return { commit, tree, dirty: true, ...(head && { base: head.commit }), nested: status.nested };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** New objects go to the store; those of the repository are seen. */
export function storedIn(store: SnapshotStore, repository: Repository): Pick<GitCall, 'objects'> {
  return { objects: { directory: store.objects, alternates: [repository.objects] } };
}

/** Objects are read once, soon; an index of one file needs no other. */
const writing = {
  ...streamedBlobs,
  'core.looseCompression': '1',
  'pack.compression': '1',
  'core.splitIndex': 'false',
  'core.untrackedCache': 'false',
};

async function treeOf(
  { git, gitDir }: Repository,
  call: GitCall,
  { changed, untracked }: TreeStatus,
  signal: AbortSignal | undefined,
): Promise<string> {
  try {
    copyFileSync(join(gitDir, 'index'), call.indexFile ?? '');
  } catch (error) {
    // Where nothing was ever staged there is none.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const paths = [...changed, ...untracked];
  if (paths.length > 0) {
    const args = ['update-index', '--add', '--remove', '--replace', '-z', '--stdin'];
    const input = [Buffer.from(paths.map((path) => `${path}\0`).join(''), 'latin1')];
    await git.run({ ...call, args }, { input, signal });
  }
  return git.line({ ...call, args: ['write-tree'] }, { signal });
}

function authored(date: string): Readonly<Record<string, string>> {
  const [name, email] = ['codex-remote', 'codex-remote@localhost'];
  return {
    GIT_AUTHOR_NAME: name,
    GIT_AUTHOR_EMAIL: email,
    GIT_AUTHOR_DATE: `@${date}`,
    GIT_COMMITTER_NAME: name,
    GIT_COMMITTER_EMAIL: email,
    GIT_COMMITTER_DATE: `@${date}`,
  };
}

function refuseLarge(root: string, untracked: readonly string[]): void {
  const large = untracked.flatMap((path) => {
    const size = lstatSync(inRoot(root, path), { throwIfNoEntry: false })?.size ?? 0;
    return size > largeFileBytes ? [{ path: shownPath(path), size }] : [];
  });
  if (large.length === 0) return;
  large.sort((a, b) => b.size - a.size);
  const named = large
    .slice(0, maxNamed)
    .map(({ path, size }) => `${path} (${Math.ceil(size / 2 ** 20)} MiB)`);
  const more = large.length > named.length ? ` and ${large.length - named.length} more` : '';
  throw new RemoteError(
    'too_large',
    `untracked files over ${largeFileBytes / 2 ** 20} MiB are not sent unless asked for: ${named.slice(0, 3).join(', ')}${named.length > 3 ? ` and ${large.length - 3} more` : more}`,
    { sent: 'no', hint: 'list them in .gitignore, or add --include-large', facts: { large_files: named } },
  );
}

/** Names are bytes. */
function inRoot(root: string, path: string): Buffer {
  return Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, 'latin1')]);
}
