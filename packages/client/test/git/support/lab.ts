import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type GitClient, Repository, SnapshotStore } from '@codex-remote/client/git';
import { RemoteError } from '@codex-remote/protocol/wire';

/** A folder with repositories, a cache, and a home; and `machine`, the mirror of a machine that stands in for one. Gone after `close`. */
export class GitLab {
  readonly dir = mkdtempSync(join(tmpdir(), 'cr-git-'));
  readonly machine = new MirrorStandIn(join(this.dir, 'mirror.git'), this);
  readonly env = {
    PATH: process.env.PATH ?? '',
    HOME: this.dir,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_AUTHOR_NAME: 'A',
    GIT_AUTHOR_EMAIL: 'a@example.org',
    GIT_COMMITTER_NAME: 'A',
    GIT_COMMITTER_EMAIL: 'a@example.org',
    GIT_AUTHOR_DATE: '@1700000000 +0100',
    GIT_COMMITTER_DATE: '@1700000000 +0100',
  };

  at(...names: string[]): string {
    return join(this.dir, ...names);
  }

  /** Of a folder under this one, which git is run in. */
  git(folder: string, ...args: string[]): string {
    return this.run(folder, args).toString().trimEnd();
  }

  run(folder: string, args: readonly string[], input?: Uint8Array): Buffer {
    const options = { cwd: this.at(folder), env: this.env, stdio: ['pipe', 'pipe', 'pipe'] as const };
    return execFileSync('git', args, {
      ...options,
      stdio: [...options.stdio],
      ...(input && { input }),
      maxBuffer: 2 ** 30,
    });
  }

  /** A repository with one commit of the file `a`. */
  repository(folder: string, ...options: string[]): string {
    this.run('.', ['init', '-q', '-b', 'main', ...options, '--', folder]);
    this.write(folder, 'a', 'first\n');
    this.commit(folder, 'first');
    return this.at(folder);
  }

  write(folder: string, name: string, content: string | Uint8Array): void {
    writeFileSync(this.at(folder, name), content);
  }

  commit(folder: string, message = 'more'): string {
    this.run(folder, ['add', '-A']);
    this.run(folder, ['commit', '-q', '--allow-empty', '-m', message]);
    return this.git(folder, 'rev-parse', 'HEAD');
  }

  find(folder: string): Promise<Repository> {
    return Repository.find(this.at(folder));
  }

  store(repository: Repository): SnapshotStore {
    return new SnapshotStore(this.at('cache'), repository);
  }

  /** Every name under a folder, with what is there: two are equal where nothing was touched. */
  picture(folder: string): Record<string, string> {
    const seen: Record<string, string> = {};
    const walk = (path: string): void => {
      const stat = lstatSync(path);
      const what = stat.isSymbolicLink()
        ? readlinkSync(path)
        : stat.isFile()
          ? createHash('sha256').update(readFileSync(path)).digest('hex')
          : 'directory';
      seen[path] = `${stat.mode.toString(8)} ${stat.isDirectory() ? '' : stat.mtimeMs} ${what}`;
      if (stat.isDirectory()) for (const name of readdirSync(path)) walk(join(path, name));
    };
    walk(this.at(folder));
    return seen;
  }

  close(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Answers as a machine does, by git itself: what is received is checked to be whole. */
export class MirrorStandIn implements Pick<GitClient, 'have' | 'receive' | 'fetch'> {
  readonly packs: number[] = [];
  /** Thrown in place of the next answers to `receive`, once the pack was read so far. */
  readonly failures: RemoteError[] = [];
  readonly #dir: string;
  readonly #lab: GitLab;
  shallow: readonly string[] = [];

  constructor(dir: string, lab: GitLab) {
    this.#dir = dir;
    this.#lab = lab;
  }

  #git(args: readonly string[], input?: Uint8Array): string {
    return this.#lab
      .run('.', [`--git-dir=${this.#dir}`, ...args], input)
      .toString()
      .trimEnd();
  }

  async have(_address: unknown, want: readonly string[]): ReturnType<GitClient['have']> {
    const object_format = want[0]?.length === 64 ? 'sha256' : 'sha1';
    if (!existsSync(this.#dir))
      this.#lab.run('.', ['init', '-q', '--bare', `--object-format=${object_format}`, '--', this.#dir]);
    const tips = this.#git(['for-each-ref', '--format=%(objectname)']).split('\n').filter(Boolean);
    const all = new Set(this.#git(['rev-list', '--all']).split('\n'));
    return {
      exists: true,
      object_format,
      shallow: [...this.shallow],
      has: want.filter((id) => all.has(id)),
      tips,
    };
  }

  async receive(
    _address: unknown,
    { commit, shallow }: Parameters<GitClient['receive']>[1],
    pack: Parameters<GitClient['receive']>[2],
  ): ReturnType<GitClient['receive']> {
    const pieces: Uint8Array[] = [];
    for await (const piece of pack.read()) pieces.push(piece);
    const failure = this.failures.shift();
    if (failure) throw failure;
    const whole = Buffer.concat(pieces);
    this.packs.push(whole.byteLength);
    if (shallow.length > 0) writeFileSync(join(this.#dir, 'shallow'), `${shallow.join('\n')}\n`);
    this.shallow = shallow;
    try {
      this.#git(['index-pack', '--stdin', '--fix-thin', '--strict'], whole);
      this.#git(['update-ref', `refs/commits/${commit}`, commit]);
      this.#git(['fsck', '--connectivity-only', '--no-dangling']);
    } catch (error) {
      throw new RemoteError('git_failed', String(error));
    }
    return { commit, tree: this.#git(['rev-parse', `${commit}^{tree}`]) };
  }

  async fetch(): ReturnType<GitClient['fetch']> {
    throw new Error('nothing is fetched here');
  }

  /** Content of a file at a commit. */
  content(commit: string, path: string): string {
    return this.#lab.run('.', [`--git-dir=${this.#dir}`, 'cat-file', 'blob', `${commit}:${path}`]).toString();
  }

  paths(commit: string): string[] {
    return this.#lab
      .run('.', [`--git-dir=${this.#dir}`, 'ls-tree', '-r', '-z', '--name-only', commit])
      .toString()
      .split('\0')
      .filter(Boolean)
      .sort();
  }
}
