import { resolve } from 'node:path';
import { answerOf, DiffClient } from '@codex-remote/client';
import type { Applied, Change } from '@codex-remote/client/apply';
import type { WorktreeState } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { exitCodes } from '../../exit.ts';
import { command } from '../../table/command.ts';
import { flagSwitch, one } from '../../table/flag.ts';
import { machineFlag, oneId } from '../../table/shared.ts';
import * as read from '../../table/values.ts';
import { idOf } from './address.ts';
import { textOf } from './render.ts';

/** Files of each kind in an answer. */
const maxFiles = 1000;

export const execApply = command({
  name: 'exec apply',
  summary: 'Make what an exec changed in its worktree of a repository here: all of it or nothing.',
  description:
    'Where one of those files is not as the exec found it, all is refused (tree_drifted). Index and branches stay. Held back: files that act by themselves (.envrc, git hooks, settings of editors, agents and package managers). Never written: .git, submodules, links that lead out; then it exits with 1.',
  flags: {
    id: oneId,
    machine: machineFlag,
    dir: one(read.nonEmpty, 'DIR', 'a folder of the repository (default: this one)'),
    'dry-run': flagSwitch('say what would be done, and change nothing'),
    'allow-autorun': flagSwitch('write files that act by themselves too'),
  },
  positional: 'id',
  examples: [
    ['what would change', 'exec apply --id ID --dry-run'],
    ['in another folder', 'exec apply --id ID --dir ../project'],
  ],
  async run(values, context) {
    const id = idOf('exec apply', values.id);
    const { client, clock, cwd, output } = context;
    const view = await client.exec({ id, machine: values.machine }, 0);
    const { exec_id, status, worktree } = view.state;
    if (status === 'queued' || status === 'running')
      throw new RemoteError('exec_running', `${exec_id} is still ${status}: what it changes is not final`, {
        exec_id,
        machine: view.machine,
        sent: 'no',
        hint: `\`codex-remote exec wait --id ${exec_id}\` first; exec diff shows what it has changed so far`,
      });
    const address = { id: exec_id, machine: view.machine };
    const diffs = new DiffClient(client.connection, clock);
    const signal = output.readerGone;
    const { head, files } = await diffs.files(address, { signal });
    const dryRun = values['dry-run'] === true;
    const { applyToTree, Git } = await import('./trees.ts');
    const applied = await applyToTree(new Git(), {
      execId: exec_id,
      dir: resolve(cwd, values.dir ?? '.'),
      commits: began(head.commit, worktree),
      files,
      patch: () => diffs.patch(address, head.result, { signal }),
      allowAutorun: values['allow-autorun'] === true,
      dryRun,
    });
    return {
      value: {
        ...answerOf(view, { now: clock.wall(), tails: 'none' }),
        ...shown(applied),
        ...(dryRun && { dry_run: true }),
        ...(applied.held.length > 0 && {
          next_command: `codex-remote exec apply --id ${exec_id} --allow-autorun`,
        }),
      },
      exit: applied.refused.length > 0 ? exitCodes.failed : exitCodes.ok,
      human: () => humanText(applied, dryRun),
    };
  },
});

/** Of a snapshot of what nobody has committed only the commit under it is known here, where there was one. */
function began(commit: string, worktree: WorktreeState | undefined): string[] {
  if (!worktree?.dirty) return [commit];
  return worktree.base === undefined ? [] : [worktree.base];
}

function shown({ root, changes, unchanged, held, refused, undone }: Applied): object {
  return {
    root,
    files: changes.slice(0, maxFiles).map(({ path, status }) => ({ ...named(path), status })),
    files_total: changes.length,
    unchanged,
    held: held.slice(0, maxFiles).map(({ path, why }) => ({ ...named(path), why })),
    held_total: held.length,
    refused: refused.slice(0, maxFiles).map(({ path, why }) => ({ ...named(path), why })),
    refused_total: refused.length,
    complete: held.length === 0 && refused.length === 0,
    ...(undone && {
      undone: {
        exec_id: undone.execId,
        changed_since: undone.changedSince.map(named),
        ...(undone.left !== undefined && { left: undone.left }),
      },
    }),
  };
}

/** `path`: its bytes, as latin1. */
function named(path: string): { path?: string; path_b64?: string } {
  const bytes = Buffer.from(path, 'latin1');
  const text = bytes.toString();
  return Buffer.from(text).equals(bytes) ? { path: text } : { path_b64: bytes.toString('base64') };
}

function humanText({ root, changes, unchanged, held, refused, undone }: Applied, dryRun: boolean): string {
  const name = (path: string) => Buffer.from(path, 'latin1').toString();
  const verb = dryRun ? 'would be changed' : 'changed';
  return textOf(
    ...(undone ? [`an apply of ${undone.execId} had been cut here: it was taken back first`] : []),
    ...(undone?.changedSince.map((path) => `  left as it is now: ${name(path)}`) ?? []),
    ...changes.map(({ path, status }: Change) => `${status.padEnd(12)} ${name(path)}`),
    `${root}: ${changes.length} ${verb}${unchanged > 0 ? `, ${unchanged} were so already` : ''}`,
    ...held.map(({ path, why }) => `held back (${why}): ${name(path)}`),
    ...(held.length > 0 ? ['--allow-autorun writes what was held back'] : []),
    ...refused.map(({ path, why }) => `refused (${why}): ${name(path)}`),
  );
}
