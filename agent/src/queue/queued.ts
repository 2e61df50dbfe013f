import { lstatSync } from 'node:fs';
import type { ExecState } from '@codex-remote/protocol/schema';
import { judge, type Probe } from '../exec/judge.ts';
import type { Machine } from '../exec/machine.ts';
import { ExecFolder, type FolderSnapshot } from '../folder/folder.ts';
import type { QueuedFolder } from '../folder/queued-folder.ts';

/** A folder of `queued/` as an agent finds it. */
export interface Queued {
  readonly folder: QueuedFolder;
  readonly snapshot: FolderSnapshot;
  /** Queued, or ended without a start. */
  readonly state: ExecState;
}

/**
 * Undefined for what is not queued, or not here: where a folder of the same id is in `execs`, a start was under way when
 * the agent ended, and that one is the truth. Throws as `ExecFolder` does.
 */
export function readQueued(folder: QueuedFolder, execs: string, machine: Machine): Queued | undefined {
  const snapshot = folder.snapshot();
  const state = judgeQueued(snapshot, machine);
  if (!state) return undefined;
  if (!isThere(new ExecFolder(execs, folder.id))) return { folder, snapshot, state };
  folder.remove();
  return undefined;
}

/** The state of an exec that has had no process. */
export function judgeQueued(snapshot: FolderSnapshot, machine: Machine): ExecState | undefined {
  const neverRan: Probe = {
    bootId: machine.bootId,
    nowMs: machine.clock.wall(),
    shimAlive: false,
    shimSessionAlive: false,
    jobAlive: false,
    exitKnownMs: 0,
  };
  return judge(snapshot, neverRan, machine.hostId);
}

export function isThere(folder: ExecFolder): boolean {
  return lstatSync(folder.path, { throwIfNoEntry: false }) !== undefined;
}
