import { hash } from 'node:crypto';
import { join } from 'node:path';
import type { Logger, ProcessTable } from '@codex-remote/platform';
import type { Clock } from '@codex-remote/protocol/wire';
import type { EnvironmentSource } from '../environment/source.ts';
import type { DiskReserve } from '../exec/disk-reserve.ts';
import type { Entries } from '../exec/entries.ts';
import { Projects } from './projects.ts';
import { Results } from './results.ts';
import { WorktreeRetainer } from './worktree-retainer.ts';
import type { WorktreeLimits } from './worktree-retention.ts';
import { Worktrees } from './worktrees.ts';

export interface GitPartsOptions {
  readonly home: string;
  /** A folder of ours that is emptied at each start. */
  readonly staging: string;
  readonly environment: EnvironmentSource;
  readonly reserve: DiskReserve;
  readonly entries: Entries;
  readonly clock: Clock;
  readonly table: ProcessTable;
  readonly limits: WorktreeLimits;
  readonly log: Pick<Logger, 'warn'> | undefined;
}

/** What an agent does with git, in its home: `git/`, `worktrees/`, `workspaces/`. Who has it closes it. */
export class GitParts {
  readonly projects: Projects;
  readonly worktrees: Worktrees;
  readonly results: Results;
  readonly #retainer: WorktreeRetainer;

  constructor({ home, staging, environment, reserve, entries, clock, table, limits, log }: GitPartsOptions) {
    const login = () => environment.current();
    const folder = join(home, 'worktrees');
    this.projects = new Projects({
      folder: join(home, 'git'),
      reserve,
      clock,
      environment: async () => (await login()).env,
      mark: hash('sha256', home, 'hex').slice(0, 32),
    });
    this.worktrees = new Worktrees({
      worktrees: folder,
      workspaces: join(home, 'workspaces'),
      projects: this.projects,
      entries,
      clock,
      table,
      umask: async () => (await login()).umask,
      log,
    });
    this.results = new Results({ worktrees: this.worktrees, scratch: staging, log });
    this.#retainer = new WorktreeRetainer({
      folder,
      worktrees: this.worktrees,
      entries,
      limits,
      clock,
      before: (id, worktree) => this.results.keepAsFarAsPossible(id, worktree),
    });
  }

  /** See `Worktrees.adopt`. */
  adopt(): void {
    this.worktrees.adopt();
    this.#retainer.soon();
  }

  /** Idempotent. */
  close(): void {
    this.projects.close();
    this.worktrees.close();
    this.#retainer.close();
  }
}
