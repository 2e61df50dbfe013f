import type { StartRequest } from '@codex-remote/client';
import type { Context } from '../../context.ts';
import { usage } from '../../table/bind.ts';
import { flagSwitch, one, type ValuesOf } from '../../table/flag.ts';
import * as read from '../../table/values.ts';

/** What `exec run` and `exec start` take about the code that they run. */
export const worktreeFlags = {
  project: one(read.projectOrFolder, 'NAME|DIR', 'run in this project, or repository here (.)'),
  ref: one(read.gitRef, 'REF', 'branch, tag, commit; WORKTREE: the files as they are'),
  workspace: one(
    read.workspaceName,
    'NAME',
    'use a worktree again, with its caches; in a --queue the next exec waits',
  ),
  clean: flagSwitch('without what is not of the commit'),
  'keep-worktree': flagSwitch('not removed before the exec is'),
  'include-large': flagSwitch('untracked files over 10 MiB too'),
} as const;

export type WorktreeValues = ValuesOf<typeof worktreeFlags>;

/** Throws `usage` for flags that mean nothing without another. */
export function checkWorktreeFlags(command: string, values: WorktreeValues): void {
  const alone = (['ref', 'workspace', 'clean', 'keep-worktree', 'include-large'] as const).find(
    (name) => values[name] !== undefined,
  );
  if (values.project === undefined && alone !== undefined)
    throw usage({ name: command }, `--${alone} needs --project NAME|DIR`);
  if (values.clean && values.workspace === undefined)
    throw usage({ name: command }, '--clean needs --workspace NAME: any other worktree is new');
  if (values['keep-worktree'] && values.workspace !== undefined)
    throw usage({ name: command }, '--keep-worktree and --workspace exclude each other: a workspace is kept');
}

export interface Prepared {
  readonly start: StartRequest;
  /** What of the files is not there, in sentences. */
  readonly warnings: readonly string[];
}

/**
 * The start as it is, or with the commit that it runs at, which is on the machine then. What that takes is loaded where there
 * is a project alone.
 */
export async function prepared(
  command: string,
  start: StartRequest,
  values: WorktreeValues,
  context: Context,
): Promise<Prepared> {
  const { project } = values;
  if (project === undefined) return { start, warnings: [] };
  const { inWorktree } = await import('./trees.ts');
  return inWorktree(command, start, { ...values, project }, context);
}

/** Warnings of the exec and those of what came before it. */
export function withWarnings(
  own: readonly string[] | undefined,
  more: readonly string[],
): { warnings?: readonly string[] } {
  return more.length === 0 ? {} : { warnings: [...(own ?? []), ...more] };
}
