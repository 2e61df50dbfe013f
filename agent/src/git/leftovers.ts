import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { ProcessTable } from '@codex-remote/platform';
import type { Turns } from '../files/turns.ts';
import { unlinkWorktree } from './checkout.ts';
import { gitMarkName } from './mirror.ts';
import type { Projects } from './projects.ts';
import { execOfRef, execRefs, resultRefs } from './refs.ts';
import { removeTree } from './remove-tree.ts';
import { isRemovedName, putAway } from './removed-name.ts';

/** A git of an agent that was killed goes on: it would write where another is about to. */
export function endLeftGits(table: ProcessTable, projects: Projects): void {
  if (projects.isEmpty) return;
  for (const { pid } of table.marked(gitMarkName, projects.mark)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  }
}

export interface Leftovers {
  readonly projects: Projects;
  readonly worktrees: string;
  readonly workspaces: string;
  /** Refs of a mirror are written by one at a time. */
  readonly turns: Turns;
  /** Whether an exec is known, or about to be. */
  readonly isTaken: (id: string) => boolean;
}

/** What no exec has is out of the way when it returns: names to be removed, those of earlier times among them. */
export function putLeftoversAway({ projects, worktrees, workspaces, isTaken }: Leftovers): string[] {
  const away = projects.leftovers();
  for (const name of readdirSync(worktrees)) {
    if (isRemovedName(name)) away.push(join(worktrees, name));
    else if (!isTaken(name)) away.push(putAway(worktrees, name));
  }
  for (const project of readdirSync(workspaces)) {
    if (isRemovedName(project)) {
      away.push(join(workspaces, project));
      continue;
    }
    for (const name of readdirSync(join(workspaces, project)))
      if (isRemovedName(name)) away.push(join(workspaces, project, name));
  }
  return away;
}

/** Gives back the disk, and lets mirrors forget execs that are known no more. Throws what the first failure was. */
export async function removeLeftovers(away: readonly string[], leftovers: Leftovers): Promise<void> {
  const { projects, worktrees, turns, isTaken } = leftovers;
  for (const path of away) await removeTree(path);
  for (const { mirror } of projects.all()) {
    await turns.take(mirror.path, async () => {
      const call = mirror.call(['for-each-ref', '--format=%(refname)', execRefs, resultRefs]);
      const refs = (await (await mirror.git()).run(call)).toString('utf8').split('\n').filter(Boolean);
      await mirror.updateRefs(refs.filter((ref) => !isTaken(execOfRef(ref))).map((ref) => `delete ${ref}`));
    });
    const links = join(mirror.path, 'worktrees');
    for (const id of existsSync(links) ? readdirSync(links) : [])
      if (!id.startsWith('+') && !isTaken(id) && !existsSync(join(worktrees, id))) unlinkWorktree(mirror, id);
  }
}
