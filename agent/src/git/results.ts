import { lstatSync } from 'node:fs';
import type { Logger } from '@codex-remote/platform';
import { type DiffHead, type ExecState, isEnded, type WorktreeState } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { SettleStep } from '../exec/settle.ts';
import type { Mirror } from './mirror.ts';
import { resultRef } from './refs.ts';
import { writeResultTree } from './result-tree.ts';
import type { Worktrees } from './worktrees.ts';

export interface ResultsOptions {
  readonly worktrees: Worktrees;
  /** A folder of ours for what is needed for a moment. */
  readonly scratch: string;
  readonly log?: Pick<Logger, 'warn'> | undefined;
}

/** What an exec made of its worktree, from which tree on. */
export interface Result {
  readonly mirror: Mirror;
  readonly head: DiffHead;
}

/** Results of running execs that may still be read, of each exec. */
const maxSeen = 8;
const maxSeenExecs = 256;

/**
 * What execs left in their worktrees, each as one tree of the mirror: looked at once it is asked for, before the worktree is
 * removed early, and before a workspace goes to another. From then on it is that tree, whatever becomes of the files.
 */
export class Results {
  readonly #options: ResultsOptions;
  /** Those that are being looked at, by exec. */
  readonly #looking = new Map<string, Promise<{ result: string; skipped?: string }>>();
  /** What running execs had when they were looked at. */
  readonly #seen = new Map<string, string[]>();

  constructor(options: ResultsOptions) {
    this.#options = options;
  }

  /** Before another exec gets the workspace. */
  get settleStep(): SettleStep {
    return {
      name: 'result',
      isNeeded: ({ spec }) => spec.worktree?.workspace !== undefined,
      settle: async ({ folder, spec }, signal) => {
        if (spec.worktree) await this.keep(folder.id, spec.worktree, signal);
        return {};
      },
    };
  }

  /** Looks at what an ended exec left, if nobody has. Throws as `of`. */
  async keep(id: string, worktree: WorktreeState, signal?: AbortSignal): Promise<void> {
    const { worktrees } = this.#options;
    const mirror = worktrees.mirrorOf(worktree);
    await worktrees.using(worktree, async () => {
      if (mirror.exists && !(await kept(mirror, id))) await this.#keep(mirror, id, worktree, signal);
    });
  }

  /** For a worktree that is about to be removed. Throws `disk_low`: then it is better not. */
  async keepAsFarAsPossible(id: string, worktree: WorktreeState): Promise<void> {
    await this.keep(id, worktree).catch((error: unknown) => {
      const failure = RemoteError.from(error);
      if (failure.code === 'disk_low') throw failure;
      this.#options.log?.warn(
        { exec: id, err: failure.message },
        'what an exec made of its worktree is lost',
      );
    });
  }

  /**
   * Of an exec that runs, or has ended; `wanted`: what an earlier answer said. Throws `no_worktree`, `exec_running` where it
   * has not started, `file_changed` where it is not `wanted` any more, `git_failed`, `disk_low`, `cancelled`.
   */
  async of(state: ExecState, wanted: string | undefined, signal: AbortSignal): Promise<Result> {
    const { exec_id: id, worktree } = state;
    if (!worktree) throw none(id, 'it ran in no worktree of a project');
    if (state.status === 'queued')
      throw new RemoteError('exec_running', `${id} has not started yet: it has changed nothing`, {
        exec_id: id,
      });
    const mirror = this.#options.worktrees.mirrorOf(worktree);
    if (!mirror.exists) throw none(id, `the project ${worktree.project} was removed from the machine`);
    const running = !isEnded(state);
    const found = running
      ? await this.#now(mirror, id, worktree, wanted, signal)
      : await this.#final(mirror, id, worktree, signal);
    if (wanted !== undefined && found.result !== wanted)
      throw new RemoteError('file_changed', `the worktree of ${id} has changed since the diff was begun`, {
        exec_id: id,
        hint: 'repeat it',
      });
    const { commit, tree } = worktree;
    return { mirror, head: { commit, tree, running, ...found } };
  }

  async #final(
    mirror: Mirror,
    id: string,
    worktree: WorktreeState,
    signal: AbortSignal,
  ): Promise<{ result: string; skipped?: string }> {
    const known = await kept(mirror, id);
    if (known !== undefined) return { result: known };
    // By now it may be another's.
    if (worktree.workspace !== undefined) throw none(id, 'what it left in its workspace was not looked at');
    return this.#keep(mirror, id, worktree, signal);
  }

  async #now(
    mirror: Mirror,
    id: string,
    worktree: WorktreeState,
    wanted: string | undefined,
    signal: AbortSignal,
  ): Promise<{ result: string; skipped?: string }> {
    const seen = this.#seen.get(id) ?? [];
    if (wanted !== undefined && seen.includes(wanted)) return { result: wanted };
    const found = await this.#look(mirror, id, worktree, signal);
    this.#seen.delete(id);
    this.#seen.set(id, [found.result, ...seen].slice(0, maxSeen));
    for (const oldest of this.#seen.keys()) {
      if (this.#seen.size <= maxSeenExecs) break;
      this.#seen.delete(oldest);
    }
    return found;
  }

  /** Together with whoever is at it; where that one leaves off, by oneself. */
  async #keep(
    mirror: Mirror,
    id: string,
    worktree: WorktreeState,
    signal: AbortSignal | undefined,
  ): Promise<{ result: string; skipped?: string }> {
    const others = this.#looking.get(id);
    if (others)
      return others.catch((error: unknown) => {
        const left = RemoteError.from(error).code === 'cancelled' && !signal?.aborted;
        if (left) return this.#keep(mirror, id, worktree, signal);
        throw error;
      });
    const looking = this.#look(mirror, id, worktree, signal)
      .then(async (found) => {
        await this.#options.worktrees.setRef(id, worktree, `update ${resultRef(id)} ${found.result}`);
        return found;
      })
      .finally(() => this.#looking.delete(id));
    this.#looking.set(id, looking);
    return looking;
  }

  async #look(
    mirror: Mirror,
    id: string,
    worktree: WorktreeState,
    signal: AbortSignal | undefined,
  ): Promise<{ result: string; skipped?: string }> {
    const { worktrees, scratch } = this.#options;
    const files = worktrees.filesOf(id, worktree);
    if (!files || !lstatSync(files.tree.directory).isDirectory()) throw none(id, 'its worktree is gone');
    const { tree, skipped } = await writeResultTree(mirror, files.tree, scratch, signal);
    return { result: tree, ...(skipped !== undefined && { skipped }) };
  }
}

/** The tree that was kept. */
async function kept(mirror: Mirror, id: string): Promise<string | undefined> {
  const call = mirror.call(['rev-parse', '--quiet', '--verify', `${resultRef(id)}^{tree}`]);
  const { code, stdout } = await (await mirror.git()).ask(call);
  return code === 0 ? stdout.toString('latin1').trim() : undefined;
}

function none(id: string, why: string): RemoteError {
  return new RemoteError('no_worktree', `there is nothing to compare of ${id}: ${why}`, { exec_id: id });
}
