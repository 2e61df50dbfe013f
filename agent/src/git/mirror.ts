import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readStateFile } from '@codex-remote/platform';
import { type Git, type GitCall, streamedBlobs } from '@codex-remote/platform/git';
import type { ObjectFormat } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { execRefs, receivedRefs } from './refs.ts';

/** Older ones do not know `--end-of-options`. */
const oldestGit: readonly [number, number] = [2, 24];

/** By this variable a git of ours is known after the death of the agent that started it. */
export const gitMarkName = 'CODEX_REMOTE_AGENT_GIT';

/** What all git calls of one agent have in common. */
export interface GitWorld {
  /** Git with the environment of the user's login; throws nothing, a missing git is told by its first call. */
  git(): Promise<Git>;
  /** Value of `gitMarkName`. */
  readonly mark: string;
}

/**
 * The bare repository of one project and one object format. Its objects are complete: each commit in it has all that it
 * reaches, but for the parents of those in `shallow`. Jobs see it as the repository of their worktree and can change it; no
 * call here relies on its refs or its configuration for more than that.
 */
export class Mirror {
  readonly path: string;
  readonly format: ObjectFormat;
  readonly #folder: string;
  readonly #world: GitWorld;
  #made: Promise<void> | undefined;

  /** `folder`: of the project. */
  constructor(world: GitWorld, folder: string, format: ObjectFormat) {
    this.#world = world;
    this.#folder = folder;
    this.format = format;
    this.path = join(folder, format === 'sha256' ? 'mirror-sha256.git' : 'mirror.git');
  }

  get exists(): boolean {
    return existsSync(join(this.path, 'HEAD'));
  }

  git(): Promise<Git> {
    return this.#world.git();
  }

  /** A call on this repository. */
  call(args: readonly string[], more: Omit<GitCall, 'args' | 'gitDir'> = {}): GitCall {
    const env = { ...more.env, [gitMarkName]: this.#world.mark };
    // The memory of the machine is its jobs'.
    const config = { ...streamedBlobs, ...more.config };
    return { ...more, args, gitDir: this.path, config, env };
  }

  /** Makes it where it is not. Throws `git_missing`, `git_failed`, `disk_low`. */
  async ensure(): Promise<void> {
    if (this.exists) return;
    this.#made ??= this.#make().finally(() => {
      this.#made = undefined;
    });
    await this.#made;
  }

  /** The tree of a commit; undefined where it is none, or not there. */
  async treeOf(commit: string): Promise<string | undefined> {
    const call = this.call(['rev-parse', '--quiet', `${commit}^{commit}`, `${commit}^{tree}`]);
    const { code, stdout } = await (await this.git()).ask(call);
    const [peeled, tree] = stdout.toString('latin1').split('\n');
    // A tag of the commit has another name.
    return code === 0 && peeled === commit ? tree : undefined;
  }

  /** Those of `ids` that are commits here, in their order. */
  async commitsOf(ids: readonly string[]): Promise<string[]> {
    const call = this.call(['cat-file', '--batch-check=%(objectname) %(objecttype)']);
    const answer = await (await this.git()).run(call, { input: lines(ids) });
    const commits = new Set(
      answer
        .toString('latin1')
        .split('\n')
        .flatMap((line) => (line.endsWith(' commit') ? [line.slice(0, line.indexOf(' '))] : [])),
    );
    return ids.filter((id) => commits.has(id));
  }

  /** At most `count` commits that were received or that execs run at, newest first. */
  async tips(count: number): Promise<string[]> {
    const args = ['for-each-ref', '--format=%(objectname)', '--sort=-refname', `--count=${2 * count}`];
    const answer = await (await this.git()).run(this.call([...args, receivedRefs, execRefs]));
    const tips = answer.toString('latin1').split('\n').filter(Boolean);
    return [...new Set(tips)].slice(0, count);
  }

  /** Commits whose parents are not here and need not be. */
  shallow(): string[] {
    return (readStateFile(join(this.path, 'shallow')) ?? '').split('\n').filter(Boolean);
  }

  /** All at once or none. Commands of `git update-ref --stdin`, without their ends. Throws `git_failed`. */
  async updateRefs(commands: readonly string[]): Promise<void> {
    if (commands.length === 0) return;
    const call = this.call(['update-ref', '--stdin'], { config: { 'core.fsync': 'committed,reference' } });
    await (await this.git()).run(call, { input: lines(commands) });
  }

  async #make(): Promise<void> {
    const git = await this.git();
    await checkVersion(git);
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const fresh = join(this.#folder, `.making-${randomBytes(9).toString('hex')}`);
    try {
      const format = this.format === 'sha1' ? [] : [`--object-format=${this.format}`];
      const env = { [gitMarkName]: this.#world.mark };
      await git.run({ args: ['init', '--quiet', '--bare', '--template=', ...format, '--', fresh], env });
      // A job's git starts no work of its own in what others use too.
      for (const [name, value] of [
        ['gc.auto', '0'],
        ['maintenance.auto', 'false'],
      ] as const)
        await git.run({ args: ['config', '--file', join(fresh, 'config'), name, value], env });
      renameSync(fresh, this.path);
    } finally {
      rmSync(fresh, { recursive: true, force: true });
    }
  }
}

/** Throws `git_missing`. */
export async function checkVersion(git: Git): Promise<void> {
  const text = await git.line({ args: ['version'] });
  const [, major = 0, minor = 0] = (/(\d+)\.(\d+)/.exec(text) ?? []).map(Number);
  if (major > oldestGit[0] || (major === oldestGit[0] && minor >= oldestGit[1])) return;
  throw new RemoteError('git_missing', `git is too old there: ${text.slice(0, 60)}`, {
    hint: `git ${oldestGit.join('.')} or newer is needed`,
    facts: { version: text.slice(0, 60) },
  });
}

export function lines(of: readonly string[]): readonly Uint8Array[] {
  return [Buffer.from(of.map((line) => `${line}\n`).join(''))];
}
