import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { type Logger, makePrivateDir, type ProcessTable } from '@codex-remote/platform';
import {
  type ExecState,
  isEnded,
  objectFormatOf,
  type WorktreeSpec,
  type WorktreeState,
} from '@codex-remote/protocol/schema';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import PQueue from 'p-queue';
import type { Entries } from '../exec/entries.ts';
import { Turns } from '../files/turns.ts';
import { checkOut, linkWorktree, makeRoot, type Tree, unlinkWorktree } from './checkout.ts';
import { Leases } from './leases.ts';
import { endLeftGits, putLeftoversAway, removeLeftovers } from './leftovers.ts';
import type { Mirror } from './mirror.ts';
import type { Projects } from './projects.ts';
import { execRef, resultRef } from './refs.ts';
import { removeTree } from './remove-tree.ts';
import { putAway } from './removed-name.ts';
import { prepareWorkspace, workspaceFiles } from './workspace.ts';

/** Where the worktrees of one agent are. */
export interface WorktreeFolders {
  /** `worktrees/<exec id>/<project>`; beside it `.index`, see `Tree`. */
  readonly worktrees: string;
  /** `workspaces/<project>/<name>` */
  readonly workspaces: string;
}

export interface WorktreesOptions extends WorktreeFolders {
  readonly projects: Projects;
  readonly entries: Entries;
  readonly clock: Clock;
  readonly table: ProcessTable;
  /** Of the user's login. */
  readonly umask: () => Promise<number>;
  readonly log?: Pick<Logger, 'warn'> | undefined;
}

/** More of them at once are not sooner done, and leave less of the machine to those that run. */
const checkoutsAtOnce = 4;

/** What an exec of a project works on. */
export interface WorktreeFiles {
  readonly mirror: Mirror;
  readonly tree: Tree;
}

/**
 * The directories in which execs of projects run: one of its own for each, or a workspace that one at a time has. An exec
 * holds its commit from before it is accepted until it is forgotten. A directory has its name only once it is whole.
 */
export class Worktrees {
  /** Which exec has which workspace. */
  readonly leases = new Leases();
  readonly #options: WorktreesOptions;
  /** Refs of a mirror are written by one at a time: nobody takes away what another is just naming. */
  readonly #turns = new Turns();
  readonly #checkouts = new PQueue({ concurrency: checkoutsAtOnce });
  readonly #stop = new AbortController();
  /** Execs that are on their way to be accepted, and their projects. */
  readonly #held = new Map<string, string>();

  constructor(options: WorktreesOptions) {
    this.#options = options;
    makePrivateDir(options.worktrees);
    makePrivateDir(options.workspaces);
    options.entries.onChange((state) => {
      if (isEnded(state)) this.leases.end(state.exec_id);
    });
    options.entries.onRemoval(
      (state) => void this.#forget(state).catch((error) => this.#failed(state, error)),
    );
  }

  /**
   * What is told of the worktree of an exec that is about to be accepted; its commit stays from here on. Throws
   * `commit_missing`, `usage` where the tree is not that of the commit, `git_missing`, `git_failed`, `disk_low`.
   */
  async hold(id: string, spec: WorktreeSpec): Promise<WorktreeState> {
    const { project, ref, commit, tree, dirty, base, workspace, keep } = spec;
    const mirror = this.#mirror(spec);
    const found = mirror.exists ? await mirror.treeOf(commit) : undefined;
    if (found === undefined)
      throw new RemoteError(
        'commit_missing',
        `the machine does not have ${commit} of the project ${project}`,
        {
          exec_id: id,
          hint: 'send the commit, or let the machine fetch it, and start again with the same id',
          facts: { project, commit },
        },
      );
    if (found !== tree)
      throw new RemoteError('usage', `the tree of ${commit} is ${found}, not ${tree}`, {
        facts: { field: 'worktree.tree' },
      });
    this.#held.set(id, project);
    try {
      await this.#turns.take(mirror.path, () => mirror.updateRefs([`update ${execRef(id)} ${commit}`]));
    } catch (error) {
      this.#held.delete(id);
      throw error;
    }
    return {
      ...{ project, ref, commit, tree, dirty },
      ...(base !== undefined && { base }),
      ...(workspace !== undefined && { workspace }),
      path: this.#place(id, spec),
      ...(keep && { kept: true }),
    };
  }

  /**
   * Makes the directory, whole, or throws with nothing of it left: `workspace_busy`, `git_missing`, `git_failed`,
   * `disk_low`, `cancelled`. With a workspace the exec has it until it has ended, or `abandon`.
   */
  async make(id: string, spec: WorktreeSpec, asked?: AbortSignal): Promise<void> {
    const { project, workspace } = spec;
    const signal = AbortSignal.any([this.#stop.signal, ...(asked ? [asked] : [])]);
    const { projects } = this.#options;
    if (workspace !== undefined) this.leases.take(project, workspace, id);
    const umask = await this.#options.umask();
    const made = this.#checkouts.add(async () => {
      if (workspace === undefined) return this.#makeOwn(id, spec, umask, signal);
      const folder = join(this.#options.workspaces, project);
      const away = await prepareWorkspace(this.#mirror(spec), folder, workspace, spec, { umask, signal });
      if (away !== undefined) void removeTree(away).catch(() => undefined);
    });
    await projects.use(project, () => made);
  }

  /**
   * Where the files of an exec are, with the index of when they were written: what differs from it the exec has changed, or
   * in a workspace one that had it later. Undefined where they are there no more.
   */
  filesOf(id: string, state: WorktreeState): WorktreeFiles | undefined {
    const { worktrees, workspaces } = this.#options;
    const { project, workspace } = state;
    const mirror = this.#mirror(state);
    const tree =
      workspace === undefined
        ? { directory: state.path, index: join(worktrees, id, indexName) }
        : workspaceFiles(join(workspaces, project), workspace, mirror);
    return existsSync(tree.directory) && existsSync(tree.index) ? { mirror, tree } : undefined;
  }

  /** Whether the exec has its workspace now. */
  holdsWorkspace(id: string, { project, workspace }: WorktreeState): boolean {
    return workspace !== undefined && this.leases.holder(project, workspace) === id;
  }

  /** The exec was accepted: from here on its entry says that it is known. */
  accepted(id: string): void {
    this.#held.delete(id);
  }

  /** The exec was not accepted: nothing of it stays. */
  async abandon(id: string, state: WorktreeState): Promise<void> {
    this.leases.end(id);
    this.#held.delete(id);
    await this.#drop(id, state).catch((error) => this.#failed({ exec_id: id }, error));
  }

  /**
   * Removes the directory of an exec that has ended, and nothing else of it. False where there is none, or it is a
   * workspace. Resolves when the disk has been given back.
   */
  async remove(id: string, state: WorktreeState): Promise<boolean> {
    if (state.workspace !== undefined) return false;
    if (!existsSync(join(this.#options.worktrees, id))) return false;
    const away = putAway(this.#options.worktrees, id);
    unlinkWorktree(this.#mirror(state), id);
    await removeTree(away);
    return true;
  }

  mirrorOf(state: WorktreeState): Mirror {
    return this.#mirror(state);
  }

  /** While `work` is at it the project is not removed. */
  using<T>({ project }: WorktreeState, work: () => Promise<T>): Promise<T> {
    return this.#options.projects.use(project, work);
  }

  /** A command of `git update-ref` for a ref that goes with the exec; nothing for an exec that is known no more. */
  async setRef(id: string, state: WorktreeState, command: string): Promise<void> {
    const mirror = this.#mirror(state);
    await this.#turns.take(mirror.path, async () => {
      if (this.#isTaken(id)) await mirror.updateRefs([command]);
    });
  }

  /**
   * The mirror of a project, its workspaces, and the worktrees of execs that have ended. False where there is none of it.
   * Throws `workspace_busy`.
   */
  async removeProject(project: string): Promise<boolean> {
    const { entries, projects, workspaces, worktrees } = this.#options;
    const active = entries.all().filter(({ supervisor, waiting }) => supervisor || waiting);
    const user =
      active.find(({ state }) => state.worktree?.project === project)?.folder.id ??
      [...this.#held].find(([, of]) => of === project)?.[0];
    if (user !== undefined)
      throw new RemoteError('workspace_busy', `exec ${user} has a worktree of the project ${project}`, {
        hint: 'wait for it or cancel it, then repeat',
        facts: { held_by: user },
      });
    const removed = await projects.remove(project);
    const away = readdirSync(worktrees)
      .filter((id) => !id.startsWith('.') && existsSync(join(worktrees, id, project)))
      .map((id) => putAway(worktrees, id));
    if (existsSync(join(workspaces, project))) away.push(putAway(workspaces, project));
    for (const path of away) await removeTree(path).catch((error: unknown) => this.#failed({}, error));
    return removed || away.length > 0;
  }

  /**
   * For an agent that has just started, once its execs are known and before a new one is: what one that died left half
   * done is out of the way when it returns, and what runs has its workspace. The rest is done meanwhile.
   */
  adopt(): void {
    const { entries, projects, table, worktrees, workspaces } = this.#options;
    endLeftGits(table, projects);
    const isTaken = (id: string) => this.#isTaken(id);
    const leftovers = { projects, worktrees, workspaces, turns: this.#turns, isTaken };
    const away = putLeftoversAway(leftovers);
    for (const { supervisor } of entries.all()) {
      const { exec_id, worktree } = supervisor?.state ?? {};
      if (exec_id !== undefined && worktree?.workspace !== undefined)
        this.leases.take(worktree.project, worktree.workspace, exec_id);
    }
    void removeLeftovers(away, leftovers).catch((error: unknown) => this.#failed({}, error));
  }

  /** What is being made is left, and nothing of it stays. Idempotent. */
  close(): void {
    this.#stop.abort();
  }

  async #makeOwn(id: string, spec: WorktreeSpec, umask: number, signal: AbortSignal): Promise<void> {
    const { worktrees } = this.#options;
    const mirror = this.#mirror(spec);
    const staged = join(worktrees, `.making-${randomBytes(9).toString('hex')}`);
    const tree = { directory: join(staged, spec.project), index: join(staged, indexName) };
    try {
      mkdirSync(staged, { mode: 0o700 });
      makeRoot(tree.directory, umask);
      await checkOut(mirror, spec.commit, tree, { umask, signal });
      linkWorktree(mirror, id, spec.commit, tree, this.#place(id, spec));
      const place = join(worktrees, id);
      // Of a start that was not accepted.
      if (existsSync(place)) await removeTree(putAway(worktrees, id));
      renameSync(staged, place);
    } catch (error) {
      await removeTree(staged).catch(() => undefined);
      throw error;
    }
  }

  /** An exec is known no more. */
  async #forget({ exec_id: id, worktree }: ExecState): Promise<void> {
    if (worktree) await this.#drop(id, worktree);
  }

  async #drop(id: string, state: WorktreeState): Promise<void> {
    await this.remove(id, state);
    const mirror = this.#mirror(state);
    if (!mirror.exists) return;
    await this.#turns.take(mirror.path, async () => {
      // Meanwhile another start can have come with the id.
      if (this.#isTaken(id)) return;
      await mirror.updateRefs([`delete ${execRef(id)}`, `delete ${resultRef(id)}`]);
    });
  }

  /** It is known, or on its way to be. */
  #isTaken(id: string): boolean {
    if (this.#held.has(id)) return true;
    try {
      return this.#options.entries.find(id) !== undefined;
    } catch {
      // It is there and cannot be read now.
      return true;
    }
  }

  #mirror({ project, commit }: Pick<WorktreeSpec, 'project' | 'commit'>): Mirror {
    return this.#options.projects.mirror(project, objectFormatOf(commit));
  }

  #place(id: string, { project, workspace }: Pick<WorktreeSpec, 'project' | 'workspace'>): string {
    const { worktrees, workspaces } = this.#options;
    return workspace === undefined ? join(worktrees, id, project) : join(workspaces, project, workspace);
  }

  #failed({ exec_id }: { readonly exec_id?: string }, error: unknown): void {
    this.#options.log?.warn(
      { exec: exec_id, err: String(error) },
      'something of a worktree could not be removed',
    );
  }
}

/** No name of a project begins with a dot. */
const indexName = '.index';
