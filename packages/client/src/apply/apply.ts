import {
  chmodSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { takeLock } from '@codex-remote/platform';
import type { Git } from '@codex-remote/platform/git';
import type { ChangedFile } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { buildFiles } from './build.ts';
import { type Change, changeOf } from './change.ts';
import { type Compared, compare } from './compare.ts';
import { type HeldBack, holdBack, type Refused, refuse, refuseLink } from './hold-back.ts';
import { readJournal } from './journal.ts';
import { type BytePath, textOfPath } from './names.ts';
import { type Placing, placeAll, readyName, TreeMoved, type Undone, undo } from './place.ts';
import { digestOf, localPath, lookAt, type Seen } from './seen.ts';
import { type PlannedPut, type Put, planSteps, type Step } from './steps.ts';
import { Target } from './target.ts';

export interface ApplyOrder {
  readonly execId: string;
  /** Where the repository is. */
  readonly dir: string;
  /** Commits of which the repository must have one: the exec began there. None where it began without any. */
  readonly commits: readonly string[];
  readonly files: readonly ChangedFile[];
  /** Asked for only where something is to be made of it. */
  readonly patch: () => AsyncIterable<Uint8Array>;
  /** Files that act by themselves are written too. */
  readonly allowAutorun: boolean;
  /** Everything but the writing. */
  readonly dryRun: boolean;
}

export interface Applied {
  /** The top of the tree. */
  readonly root: string;
  /** What was changed, or would be. */
  readonly changes: readonly Change[];
  /** Paths that are so already. */
  readonly unchanged: number;
  readonly held: readonly HeldBack[];
  readonly refused: readonly Refused[];
  /** An earlier apply was cut here; it was taken back first. */
  readonly undone?: Undone;
}

const endings = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Below the git directory. */
const folderName = 'codex-remote';
const stagingPrefix = 'apply-';

/**
 * Makes of a tree here what an exec has made of its own, where both were the same: all files or none. Nothing of git changes,
 * neither index nor branches. Throws `not_repository`, `unknown_ref`, `tree_drifted`, `patch_damaged`, `conflict`, `git_missing`,
 * `disk_low`.
 */
export async function applyToTree(git: Git, order: ApplyOrder): Promise<Applied> {
  const target = await Target.find(git, order.dir);
  await mustHave(target, order.commits);
  const home = homeOf(target);
  const lock = lockOf(home);
  try {
    const undone = recover(home, order.dryRun);
    const staging = mkdtempSync(join(home, stagingPrefix));
    try {
      return { ...(await applyIn(target, staging, order)), ...(undone && { undone }) };
    } finally {
      rmSync(staging, { recursive: true, force: true });
    }
  } finally {
    lock.release();
  }
}

async function applyIn(target: Target, staging: string, order: ApplyOrder): Promise<Applied> {
  const { root, repository, settings } = target;
  const all = order.files.map(changeOf);
  const { refused, rest } = refuse(all, settings.ignoreCase);
  const { held, taken } = order.allowAutorun ? { held: [], taken: rest } : holdBack(rest, target);
  const objects = { directory: join(staging, 'objects'), alternates: [repository.objects] };
  mkdirSync(objects.directory, { mode: 0o700 });
  const compared = await compare(target, taken, objects);
  const changing = compared.filter(({ standing }) => standing === 'before');
  mustStand(compared.filter(({ standing }) => standing === 'other').map(({ change }) => change.path));
  const unchanged = compared.length - changing.length;
  const changes = changing.map(({ change }) => change);
  if (changes.length === 0) return { root, changes, unchanged, held, refused };
  const used = new Set(changes.map(({ path }) => path));
  const made = await buildFiles({
    target,
    staging,
    objects,
    changes,
    excluded: all.map(({ path }) => path).filter((path) => !used.has(path)),
    patch: order.patch(),
  });
  const leadOut = changes.flatMap((change) => refuseLink(change, root, made) ?? []);
  const placing = changing.filter(({ change }) => !leadOut.some(({ path }) => path === change.path));
  const ready = makeReady(root, staging, made, placing);
  if (!order.dryRun) place({ exec_id: order.execId, root, staging, ...ready });
  return {
    root,
    changes: placing.map(({ change }) => change),
    unchanged,
    held,
    refused: [...refused, ...leadOut],
  };
}

/** Throws `tree_drifted`, `disk_low`, `usage` where this user may not write: then nothing was changed. */
function place(placing: Placing): void {
  const letGo = holdSignals();
  try {
    placeAll(placing);
  } catch (error) {
    if (error instanceof TreeMoved) mustStand([error.path]);
    const failure = RemoteError.from(error);
    if (failure.code !== 'internal') throw failure;
    throw new RemoteError(
      'usage',
      `the tree at ${placing.root} cannot be changed, and was not: ${failure.message}`,
      {
        sent: 'no',
      },
      error,
    );
  } finally {
    letGo();
  }
}

/** A signal that would end the process does not: what is under way ends soon, and whole. Returns what ends that. */
function holdSignals(): () => void {
  const pass = () => undefined;
  for (const signal of endings) process.on(signal, pass);
  return () => {
    for (const signal of endings) process.off(signal, pass);
  };
}

/** Plans the steps, and puts what they place where they find it: on disk, with its permissions. Throws `tree_drifted`. */
function makeReady(
  root: string,
  staging: string,
  made: string,
  placing: readonly Compared[],
): { steps: Step[]; seen: Map<BytePath, Seen> } {
  const seen = new Map(placing.flatMap(({ change, seen: there }) => (there ? [[change.path, there]] : [])));
  const removed = placing.filter(({ change }) => !change.new).map(({ change }) => change.path);
  const placed = placing
    .filter(({ change }) => change.new)
    .map(({ change: { path } }): PlannedPut => {
      const isLink = lookAt(made, path)?.type === 'symlink';
      const digest = digestOf(localPath(made, path));
      const put: Put = isLink
        ? { type: 'symlink', target: digest.slice('-> '.length) }
        : { type: 'file', sha256: digest };
      return { path, there: seen.has(path), put };
    });
  const steps = planSteps(removed, placed, {
    names: (folder) => namesIn(root, folder),
    mode: (folder) => lookAt(root, folder)?.mode ?? 0o777,
  });
  // A folder where a file is to be must be one that empties.
  const emptied = new Set(steps.flatMap((step) => (step.do === 'rmdir' ? [step.path] : [])));
  mustStand(
    [...seen].flatMap(([path, { type }]) => (type === 'directory' && !emptied.has(path) ? [path] : [])),
  );
  mkdirSync(join(staging, readyName), { mode: 0o700 });
  for (const [index, step] of steps.entries()) {
    if (step.do !== 'place') continue;
    const from = localPath(made, step.path);
    if (step.put.type === 'file') settle(from, lookAt(made, step.path), seen.get(step.path));
    renameSync(from, join(staging, readyName, String(index)));
  }
  return { steps, seen };
}

/** On disk, and with the permissions of the file whose place it takes. */
function settle(path: Buffer, made: Seen | undefined, replaced: Seen | undefined): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  if (replaced?.type !== 'file' || !made) return;
  const readers = replaced.mode & 0o444;
  chmodSync(path, (replaced.mode & 0o666) | (made.executable ? readers >> 2 : 0));
}

function namesIn(root: string, folder: BytePath): BytePath[] | undefined {
  if (lookAt(root, folder)?.type !== 'directory') return undefined;
  return readdirSync(localPath(root, folder), { encoding: 'buffer' }).map((name) => name.toString('latin1'));
}

async function mustHave(target: Target, commits: readonly string[]): Promise<void> {
  for (const commit of commits) if (await target.has(commit)) return;
  if (commits.length === 0) return;
  throw new RemoteError(
    'unknown_ref',
    `the repository at ${target.root} does not have the commit that the exec started from: ${commits.at(-1) ?? ''}`,
    { sent: 'no', hint: 'run it in the repository that the exec came from, or name that with --dir' },
  );
}

/** Names of files in one message. */
const shownFiles = 20;

function mustStand(paths: readonly BytePath[]): void {
  if (paths.length === 0) return;
  const files = paths.slice(0, shownFiles).map(textOfPath);
  const rest = paths.length > files.length ? ` and ${paths.length - files.length} more` : '';
  throw new RemoteError(
    'tree_drifted',
    `the tree is not the one that the exec started from: ${files.join(', ')}${rest} changed here meanwhile`,
    {
      sent: 'no',
      hint: 'nothing was changed; put those files back, or take the patch with exec diff --raw and merge it',
      facts: { files, files_total: paths.length },
    },
  );
}

function homeOf({ repository: { gitDir }, root }: Target): string {
  const sameDevice = lookAt(gitDir, '')?.identity.split(' ')[0] === lookAt(root, '')?.identity.split(' ')[0];
  // What is made ready is renamed into place: it must be on the file system of the tree.
  const home = sameDevice ? join(gitDir, folderName) : join(root, `.${folderName}`);
  mkdirSync(home, { recursive: true, mode: 0o700 });
  return home;
}

function lockOf(home: string): { release(): void } {
  try {
    return takeLock(join(home, 'apply.lock'));
  } catch (error) {
    const failure = RemoteError.from(error);
    if (failure.code !== 'already_running') throw failure;
    throw new RemoteError(
      'conflict',
      'conflict: another exec apply is at work in this tree',
      { sent: 'no' },
      error,
    );
  }
}

/** Takes back what was cut. Throws `tree_drifted` where that was and nothing is to be changed. */
function recover(home: string, dryRun: boolean): Undone | undefined {
  let undone: Undone | undefined;
  for (const name of readdirSync(home).filter((each) => each.startsWith(stagingPrefix))) {
    const staging = join(home, name);
    const cut = readJournal(staging);
    if (cut && dryRun)
      throw new RemoteError('tree_drifted', `an apply of ${cut.exec_id} was cut in this tree`, {
        sent: 'no',
        hint: 'without --dry-run it is taken back first',
      });
    undone = undo(staging) ?? undone;
    rmSync(staging, { recursive: true, force: true });
  }
  return undone;
}
