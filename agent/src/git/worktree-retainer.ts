import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isEnded, type WorktreeState } from '@codex-remote/protocol/schema';
import type { Clock } from '@codex-remote/protocol/wire';
import type { Entries } from '../exec/entries.ts';
import { Passes } from '../exec/passes.ts';
import { type EndedWorktree, overWorktreeLimits, type WorktreeLimits } from './worktree-retention.ts';
import type { Worktrees } from './worktrees.ts';

/** Limits are looked after so long after an end, many at once. */
const delayMs = 1_000;

export interface WorktreeRetainerOptions {
  /** `worktrees/` of the agent's home. */
  readonly folder: string;
  readonly worktrees: Worktrees;
  readonly entries: Entries;
  readonly limits: WorktreeLimits;
  readonly clock: Clock;
  /** What is to be known of a worktree that is about to be removed. Where it throws the worktree stays. */
  readonly before?: (id: string, worktree: WorktreeState) => Promise<void>;
}

/**
 * Removes worktrees of execs that have ended before retention takes the execs, where all of them are over a limit; those
 * that were asked to be kept stay, and count in no limit. Each is measured once.
 */
export class WorktreeRetainer {
  readonly #options: WorktreeRetainerOptions;
  readonly #sizes = new Map<string, number>();
  readonly #passes: Passes;

  constructor(options: WorktreeRetainerOptions) {
    this.#options = options;
    this.#passes = new Passes(options.clock, delayMs, () => this.#retain());
    options.entries.onChange((state) => {
      if (isEnded(state) && state.worktree && state.worktree.workspace === undefined) this.soon();
    });
  }

  /** Something may be over a limit now. */
  soon(): void {
    this.#passes.soon();
  }

  /** A pass that is under way ends at its next step. */
  close(): void {
    this.#passes.close();
  }

  async #retain(): Promise<void> {
    const { worktrees, limits, before } = this.#options;
    const found = this.#found();
    const ended: EndedWorktree[] = [];
    for (const { id, endedMs } of found) ended.push({ id, endedMs, bytes: await this.#bytes(id) });
    for (const id of overWorktreeLimits(ended, limits)) {
      const state = found.find((one) => one.id === id)?.worktree;
      if (!state || this.#passes.closed) continue;
      await before?.(id, state);
      await worktrees.remove(id, state);
      this.#sizes.delete(id);
    }
  }

  /** Worktrees of ended execs that are not to be kept. */
  #found(): { id: string; endedMs: number; worktree: WorktreeState }[] {
    const { folder, entries } = this.#options;
    return readdirSync(folder).flatMap((id) => {
      if (id.startsWith('.')) return [];
      try {
        const state = entries.find(id)?.state;
        if (!state || !isEnded(state) || !state.worktree || state.worktree.kept) return [];
        const endedMs = state.ended_at === undefined ? 0 : Date.parse(state.ended_at);
        return [{ id, endedMs, worktree: state.worktree }];
      } catch {
        // It cannot be read now.
        return [];
      }
    });
  }

  /** By `du`, which does not hold up the agent. What it cannot measure counts as nothing. */
  async #bytes(id: string): Promise<number> {
    const known = this.#sizes.get(id);
    if (known !== undefined) return known;
    const path = join(this.#options.folder, id);
    const said = await run('du', ['-skx', '--', path]).then(
      ({ stdout }) => stdout,
      (error: { stdout?: string }) => error.stdout ?? '',
    );
    const bytes = 1024 * (Number.parseInt(said, 10) || 0);
    if (existsSync(path)) this.#sizes.set(id, bytes);
    return bytes;
  }
}

const run = promisify(execFile);
