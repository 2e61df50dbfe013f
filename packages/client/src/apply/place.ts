import {
  closeSync,
  copyFileSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { failpoint } from '@codex-remote/platform';
import { dropJournal, type Journal, readJournal, writeJournal } from './journal.ts';
import type { BytePath } from './names.ts';
import { digestOf, errnoOf, localPath, lookAt, type Seen, sameSeen, wayIsPlain } from './seen.ts';
import { folderOf, type Step } from './steps.ts';

/** Below the staging folder: what was made ready, by step, and what was replaced. */
export const readyName = 'ready';
const oldName = 'old';

export interface Placing extends Journal {
  /** A folder of ours on the file system of `root`: `ready/N` is what step N places. */
  readonly staging: string;
  /** What stood at the paths when they were compared; absent: nothing. */
  readonly seen: ReadonlyMap<BytePath, Seen>;
}

/** Something stands at a path that did not when it was compared, or is another. */
export class TreeMoved extends Error {
  readonly path: BytePath;

  constructor(path: BytePath) {
    super('changed meanwhile');
    this.path = path;
  }
}

/**
 * Does all steps or none: what fails is undone, and what is cut by the end of the process is undone by `undo`. Does not give
 * way to anything else meanwhile. Throws `TreeMoved`, and what the system said.
 */
export function placeAll({ staging, seen, ...journal }: Placing): void {
  const { root, steps } = journal;
  mkdirSync(join(staging, oldName), { mode: 0o700 });
  failpoint('client.apply.before');
  writeJournal(staging, journal);
  try {
    for (const [index, step] of steps.entries()) {
      doStep(root, staging, index, step, seen.get(step.path));
      failpoint('client.apply.step');
    }
    for (const folder of new Set(steps.map(({ path }) => folderOf(path))))
      if (lookAt(root, folder)?.type === 'directory') syncFolder(localPath(root, folder));
  } catch (error) {
    undo(staging);
    throw error;
  }
  dropJournal(staging);
  failpoint('client.apply.after');
}

export interface Undone {
  readonly execId: string;
  /** What somebody has changed since is left as it is. */
  readonly changedSince: readonly BytePath[];
  /** Where what was there before lies then, by step. */
  readonly left?: string;
}

/** Takes back what a cut left half done. Undefined where there was nothing. Can itself be cut and repeated. */
export function undo(staging: string): Undone | undefined {
  const journal = readJournal(staging);
  if (!journal) return undefined;
  const { root, steps, exec_id } = journal;
  const changedSince: BytePath[] = [];
  for (const [index, step] of [...steps.entries()].reverse()) {
    if (!undoStep(root, staging, index, step)) changedSince.push(step.path);
    failpoint('client.apply.undone');
  }
  dropJournal(staging);
  if (changedSince.length === 0) return { execId: exec_id, changedSince };
  const left = join(dirname(staging), `left-${basename(staging)}`);
  renameSync(staging, left);
  return { execId: exec_id, changedSince, left };
}

function doStep(root: string, staging: string, index: number, step: Step, seen: Seen | undefined): void {
  const path = localPath(root, step.path);
  if (!wayIsPlain(root, step.path)) throw new TreeMoved(step.path);
  switch (step.do) {
    case 'remove':
      keepOld(path, oldOf(staging, index), step.path, seen);
      return unlinkSync(path);
    case 'rmdir':
      return rmdirSync(path);
    case 'mkdir':
      return void mkdirSync(path);
    case 'place':
      if (step.there) keepOld(path, oldOf(staging, index), step.path, seen);
      else if (lookAt(root, step.path)) throw new TreeMoved(step.path);
      return renameSync(readyOf(staging, index), path);
  }
}

/** True where it is as it was before. */
function undoStep(root: string, staging: string, index: number, step: Step): boolean {
  const path = localPath(root, step.path);
  // Nothing of ours can be there: taken back already, or what was there before waits for its place.
  if (!wayIsPlain(root, step.path)) return step.do === 'mkdir' || !exists(oldOf(staging, index));
  const there = lookAt(root, step.path);
  switch (step.do) {
    case 'mkdir':
      return there?.type !== 'directory' || removedEmpty(path);
    case 'rmdir':
      if (!there) mkdirSync(path, { mode: step.mode });
      return true;
    case 'remove':
      return giveBack(path, there, oldOf(staging, index));
    case 'place':
      return step.there
        ? unplaceOver(path, there, step, oldOf(staging, index), readyOf(staging, index))
        : unplace(path, there, step, readyOf(staging, index));
  }
}

type Place = Extract<Step, { do: 'place' }>;

/** What was placed where nothing was is made ready again: it tells an undo that is repeated that it was taken back. */
function unplace(path: Buffer, there: Seen | undefined, step: Place, ready: string): boolean {
  if (exists(ready) || !there) return true;
  if (!isOurs(path, step)) return false;
  renameSync(path, ready);
  return true;
}

/** At no moment is nothing there. */
function unplaceOver(
  path: Buffer,
  there: Seen | undefined,
  step: Place,
  old: string,
  ready: string,
): boolean {
  if (!exists(old)) return true;
  const ours = there !== undefined && isOurs(path, step);
  if (there && !ours && !sameContent(path, old)) return false;
  if (ours && !exists(ready)) secondName(path, there.type, ready);
  return moved(old, path);
}

function isOurs(path: Buffer, { put }: Place): boolean {
  return digestOf(path) === (put.type === 'file' ? put.sha256 : `-> ${put.target}`);
}

/** Of a step that removes: its second name becomes the first again, unless somebody has made another in its place. */
function giveBack(path: Buffer, there: Seen | undefined, old: string): boolean {
  return !exists(old) || ((!there || sameContent(path, old)) && moved(old, path));
}

function sameContent(path: Buffer, old: string): boolean {
  return digestOf(path) === digestOf(Buffer.from(old));
}

function moved(old: string, path: Buffer): true {
  renameSync(old, path);
  // Two names of one file stay two.
  rmSync(old, { force: true });
  return true;
}

/** What is at `path` gets a second name; it must still be what was compared. */
function keepOld(path: Buffer, old: string, name: BytePath, seen: Seen | undefined): void {
  const there = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (!seen || !there || !sameSeen(seen, there)) throw new TreeMoved(name);
  secondName(path, seen.type, old);
  failpoint('client.apply.kept');
}

function secondName(path: Buffer, type: Seen['type'], name: string): void {
  if (type === 'symlink') return symlinkSync(readlinkSync(path, 'buffer'), name);
  try {
    linkSync(path, name);
  } catch (error) {
    // A file system without hard links.
    if (!['EPERM', 'ENOTSUP', 'EMLINK', 'EOPNOTSUPP'].includes(errnoOf(error))) throw error;
    copyFileSync(path, name);
  }
}

/** As `syncDirSync`, for a name that is bytes. */
function syncFolder(path: Buffer): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function oldOf(staging: string, index: number): string {
  return join(staging, oldName, String(index));
}

function readyOf(staging: string, index: number): string {
  return join(staging, readyName, String(index));
}

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

function removedEmpty(path: Buffer): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOTEMPTY') return false;
    throw error;
  }
}
