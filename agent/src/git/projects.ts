import { existsSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { makePrivateDir } from '@codex-remote/platform';
import { Git } from '@codex-remote/platform/git';
import {
  maxTips,
  type ObjectFormat,
  objectFormatOf,
  type VerbParams,
  type VerbReply,
} from '@codex-remote/protocol/schema';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import type { DiskReserve } from '../exec/disk-reserve.ts';
import { fetchRef, OtherFormat, transportOf } from './fetch.ts';
import { maintain } from './maintenance.ts';
import { checkVersion, type GitWorld, Mirror } from './mirror.ts';
import { incomingPrefix, type PackBody, receivePack } from './receive-pack.ts';
import { removeTree } from './remove-tree.ts';
import { removedName } from './removed-name.ts';

export interface ProjectsOptions {
  /** `git/` of the agent's home. */
  readonly folder: string;
  readonly reserve: DiskReserve;
  readonly clock: Clock;
  /** The environment of the user's login. */
  readonly environment: () => Promise<Readonly<Record<string, string>>>;
  /** Value of `gitMarkName`. */
  readonly mark: string;
}

/** The mirrors of this machine, `git/<key>/mirror.git` and `mirror-sha256.git`. */
export class Projects implements GitWorld {
  readonly mark: string;
  readonly #options: ProjectsOptions;
  readonly #mirrors = new Map<string, Mirror>();
  /** How many requests are at work on a project. */
  readonly #used = new Map<string, number>();
  readonly #maintained = new Set<string>();
  readonly #stop = new AbortController();

  constructor(options: ProjectsOptions) {
    this.#options = options;
    this.mark = options.mark;
    makePrivateDir(options.folder);
  }

  async git(): Promise<Git> {
    return new Git('git', await this.#options.environment());
  }

  mirror(project: string, format: ObjectFormat): Mirror {
    const key = `${project} ${format}`;
    const mirror = this.#mirrors.get(key) ?? new Mirror(this, this.#folder(project), format);
    this.#mirrors.set(key, mirror);
    return mirror;
  }

  /** Nothing of any project was ever here, or all of it was removed. */
  get isEmpty(): boolean {
    return readdirSync(this.#options.folder).length === 0;
  }

  /** Every mirror that there is. */
  all(): { readonly project: string; readonly mirror: Mirror }[] {
    return readdirSync(this.#options.folder)
      .filter((name) => !name.startsWith('.'))
      .flatMap((project) =>
        (['sha1', 'sha256'] as const).map((format) => ({ project, mirror: this.mirror(project, format) })),
      )
      .filter(({ mirror }) => mirror.exists);
  }

  /** Throws `usage` for names of two formats, `git_missing`, `git_failed`. */
  async have({ project, want }: VerbParams<'git.have'>): Promise<VerbReply<'git.have'>> {
    const format = objectFormatOf(want[0] ?? '');
    if (want.some((id) => objectFormatOf(id) !== format))
      throw new RemoteError('usage', 'git.have: want: names of two formats', { facts: { field: 'want' } });
    const mirror = this.mirror(project, format);
    if (!mirror.exists) {
      // Whoever asks is about to send: that there is no git is told before.
      await checkVersion(await this.git());
      return { exists: false, object_format: format, shallow: [], has: [], tips: [] };
    }
    const [has, tips] = await Promise.all([mirror.commitsOf(want), mirror.tips(maxTips)]);
    const shallow = mirror.shallow().slice(0, maxShallowTold);
    return { exists: true, object_format: format, shallow, has, tips };
  }

  /** See `receivePack`. */
  async receive(
    order: VerbParams<'git.receive'>,
    body: PackBody,
    signal: AbortSignal,
  ): Promise<VerbReply<'git.receive'>> {
    const { project, commit, object_format, shallow, size } = order;
    const { reserve, clock } = this.#options;
    reserve.check(size);
    return this.use(project, async () => {
      const mirror = this.mirror(project, object_format);
      await mirror.ensure();
      const tree = await receivePack(
        mirror,
        this.#folder(project),
        { commit, shallow },
        body,
        { reserve, clock },
        signal,
      );
      this.#maintain(mirror);
      return { commit, tree };
    });
  }

  /** See `fetchRef`. */
  async fetch(
    { project, url, ref }: VerbParams<'git.fetch'>,
    signal: AbortSignal,
  ): Promise<VerbReply<'git.fetch'>> {
    // Before there is a mirror for it.
    transportOf(url);
    this.#options.reserve.check();
    return this.use(project, async () => {
      // A project of a URL has one repository, of one format: the one that is there.
      const sha256 = this.mirror(project, 'sha256');
      const formats: ObjectFormat[] = sha256.exists ? ['sha256', 'sha1'] : ['sha1', 'sha256'];
      for (const format of formats) {
        const mirror = this.mirror(project, format);
        await mirror.ensure();
        try {
          const fetched = await fetchRef(mirror, url, ref, signal);
          this.#maintain(mirror);
          return fetched;
        } catch (error) {
          if (!(error instanceof OtherFormat)) throw error;
        }
      }
      throw new RemoteError('fetch_failed', `${url} has objects of a format that git here does not know`);
    });
  }

  /** While `work` is at it the project is not removed. */
  async use<T>(project: string, work: () => Promise<T>): Promise<T> {
    this.#used.set(project, (this.#used.get(project) ?? 0) + 1);
    try {
      return await work();
    } finally {
      const left = (this.#used.get(project) ?? 1) - 1;
      if (left > 0) this.#used.set(project, left);
      else this.#used.delete(project);
    }
  }

  /** Resolves when the disk has been given back. Throws `workspace_busy` while a request is at work on it. */
  async remove(project: string): Promise<boolean> {
    if (this.#used.has(project))
      throw new RemoteError('workspace_busy', `commits of the project ${project} are on their way`);
    const folder = this.#folder(project);
    if (!existsSync(folder)) return false;
    const away = join(this.#options.folder, removedName());
    renameSync(folder, away);
    for (const format of ['sha1', 'sha256']) this.#mirrors.delete(`${project} ${format}`);
    // What cannot be removed now goes at the next start.
    await removeTree(away).catch(() => undefined);
    return true;
  }

  /** What requests left that were ended in the middle: names to be removed. For an agent that has just started. */
  leftovers(): string[] {
    const { folder } = this.#options;
    return readdirSync(folder).flatMap((project) =>
      project.startsWith('.')
        ? [join(folder, project)]
        : readdirSync(join(folder, project))
            .filter((name) => name.startsWith(incomingPrefix) || name.startsWith('.'))
            .map((name) => join(folder, project, name)),
    );
  }

  /** Ends what is done beside requests. Idempotent. */
  close(): void {
    this.#stop.abort();
  }

  #folder(project: string): string {
    return join(this.#options.folder, project);
  }

  /** Beside whatever else goes on; its failure is nobody's. */
  #maintain(mirror: Mirror): void {
    if (this.#maintained.has(mirror.path) || this.#stop.signal.aborted) return;
    this.#maintained.add(mirror.path);
    void maintain(mirror, this.#options.clock, this.#stop.signal)
      .catch(() => undefined)
      .finally(() => this.#maintained.delete(mirror.path));
  }
}

/** A reply fits one message. */
const maxShallowTold = 200;
