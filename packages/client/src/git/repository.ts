import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { hostId } from '@codex-remote/platform';
import { Git, type GitCall } from '@codex-remote/platform/git';
import type { ObjectFormat } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { type Commit, readCommit } from './commit.ts';
import { plainFilters } from './filters.ts';

/** Longest beginning of a mirror's key that comes from the folder's name; the rest of it is a hash. */
const maxSlugLength = 40;

type Options = { readonly signal?: AbortSignal | undefined };

/**
 * A repository of this host, as its user has it: her configuration counts. What could run a program in it does not, and
 * nothing in it is written.
 */
export class Repository {
  readonly git: Git;
  /** The working tree; absent where there is none. */
  readonly root: string | undefined;
  /** Of this working tree. */
  readonly gitDir: string;
  /** Of all working trees of the repository. */
  readonly commonDir: string;
  readonly objectFormat: ObjectFormat;
  #filters: Promise<Readonly<Record<string, string>>> | undefined;

  private constructor(git: Git, found: Pick<Repository, 'root' | 'gitDir' | 'commonDir' | 'objectFormat'>) {
    this.git = git;
    this.root = found.root;
    this.gitDir = found.gitDir;
    this.commonDir = found.commonDir;
    this.objectFormat = found.objectFormat;
  }

  /** The one that `dir` is in. Throws `not_repository`, `git_missing`, `git_failed` (one of another user, for example). */
  static async find(dir: string, git = new Git(), { signal }: Options = {}): Promise<Repository> {
    if (!existsSync(dir))
      throw new RemoteError('not_repository', `${dir} is not there`, {
        sent: 'no',
        hint: 'name a folder in a git repository',
      });
    const call = (...words: string[]): GitCall => ({
      cwd: dir,
      userConfig: true,
      args: ['rev-parse', ...words],
    });
    const [about, top] = await Promise.all([
      git.ask(call('--show-object-format', '--absolute-git-dir'), { signal }),
      git.ask(call('--show-toplevel'), { signal }),
    ]);
    if (about.code !== 0) throw notRepository(dir, about.stderr);
    const text = about.stdout.toString('utf8');
    const line = text.indexOf('\n');
    // Whole but for its end: a folder's name may have a newline in it.
    const gitDir = text.slice(line + 1, -1);
    const root = top.stdout.toString('utf8').slice(0, -1);
    return new Repository(git, {
      root: root === '' ? undefined : root,
      gitDir,
      commonDir: commonDirOf(gitDir),
      objectFormat: text.slice(0, line) === 'sha256' ? 'sha256' : 'sha1',
    });
  }

  /** The key under which machines keep its commits where it is registered under no name: another for each repository and host. */
  get key(): string {
    const { createHash } = process.getBuiltinModule('node:crypto');
    const hash = createHash('sha256')
      .update(`${hostId()}\n${realpathSync(this.commonDir)}`)
      .digest('hex');
    const folder = this.commonDir.replace(/\/?\.git$/, '');
    const name = basename(folder).toLowerCase();
    const slug = name
      .replaceAll(/[^a-z0-9._-]+/g, '-')
      .replace(/^[^a-z0-9]+/, '')
      .slice(0, maxSlugLength);
    return `${slug || 'repository'}-${hash.slice(0, 12)}`;
  }

  get objects(): string {
    return join(this.commonDir, 'objects');
  }

  /** Commits whose parents are not there. */
  shallow(): readonly string[] {
    try {
      return readFileSync(join(this.commonDir, 'shallow'), 'utf8').split('\n').filter(Boolean);
    } catch {
      return [];
    }
  }

  /** A call about this repository in which no filter of it runs. */
  async call(...args: string[]): Promise<GitCall> {
    this.#filters ??= plainFilters(this.git, { gitDir: this.gitDir, userConfig: true, args: [] });
    return {
      ...(this.root === undefined ? {} : { cwd: this.root, workTree: this.root }),
      gitDir: this.gitDir,
      userConfig: true,
      config: await this.#filters,
      args,
    };
  }

  /** What `ref` means here. Throws `unknown_ref`. */
  async commit(ref: string, { signal }: Options = {}): Promise<Commit> {
    const found = await readCommit(this.git, await this.call(), ref, { signal });
    if (found) return found;
    const unborn = ref === 'HEAD' || ref === '@';
    throw new RemoteError(
      'unknown_ref',
      unborn
        ? `unknown ref ${ref}: the repository has no commit yet`
        : `unknown ref ${JSON.stringify(ref)} in ${this.root ?? this.gitDir}`,
      {
        sent: 'no',
        hint: unborn
          ? 'commit something, or use --ref WORKTREE'
          : 'git branch -a and git tag show what there is',
      },
    );
  }
}

function commonDirOf(gitDir: string): string {
  try {
    return resolve(gitDir, readFileSync(join(gitDir, 'commondir'), 'utf8').replace(/\n$/, ''));
  } catch {
    // Only a further working tree has the file.
    return gitDir;
  }
}

function notRepository(dir: string, stderr: string): RemoteError {
  const said = stderr.trim();
  if (/not a git repository/i.test(said))
    return new RemoteError('not_repository', `${dir} is in no git repository`, {
      sent: 'no',
      hint: 'name a folder in one, or send the files with sync push',
    });
  return new RemoteError(
    'git_failed',
    `git cannot use the repository of ${dir}: ${said.split('\n')[0] ?? ''}`,
    {
      sent: 'no',
      facts: { git_stderr: said },
    },
  );
}
