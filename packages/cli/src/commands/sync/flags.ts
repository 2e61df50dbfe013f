import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { SyncOrder } from '@codex-remote/client/sync';
import type { Context } from '../../context.ts';
import { usage } from '../../table/bind.ts';
import { flagSwitch, many, type ValuesOf } from '../../table/flag.ts';
import { connectWait, defaultConnectWaitMs, machineFlag } from '../../table/shared.ts';
import * as read from '../../table/values.ts';
import { machineOf } from '../exec/address.ts';

/** What both directions take. */
export const treeFlags = {
  exclude: many(read.nonEmpty, 'PATTERN', 'leave out, as a line of .gitignore would'),
  include: many(read.nonEmpty, 'PATTERN', 'take in what is ignored or excluded'),
  'no-ignore': flagSwitch('take what .gitignore files leave out too'),
  delete: flagSwitch('remove what the source does not have; asks, or needs --yes'),
  yes: flagSwitch('do not ask'),
  'dry-run': flagSwitch('tell what would be done, and do nothing'),
  checksum: flagSwitch('compare contents where size and time are the same'),
  watch: flagSwitch('go on, a line each time something was done, until stopped'),
  'connect-wait': connectWait,
} as const;
export const machineOfTree = { machine: machineFlag } as const;

type TreeValues = ValuesOf<typeof treeFlags & typeof machineOfTree> & {
  readonly src?: string;
  readonly dst?: string;
};
export type Direction = 'push' | 'pull';

/** Longest path that systems take, and what a machine takes of patterns. */
const maxPathBytes = 4095;
const maxPatterns = 1000;

/** Two trees, and what is to be done with them. */
export interface Trees {
  readonly direction: Direction;
  readonly src: string;
  readonly dst: string;
  readonly order: Omit<SyncOrder, 'report' | 'progress' | 'signal'>;
}

/** Throws `usage`. */
export function treesOf(direction: Direction, values: TreeValues, context: Context): Trees {
  const name = `sync ${direction}`;
  const machine = machineOf(name, values.machine, context.env);
  const { src, dst, exclude = [], include = [] } = values;
  if (src === undefined || dst === undefined)
    throw usage({ name }, `${name} needs ${src === undefined ? '--src' : '--dst'} DIR`);
  const [here, there] = direction === 'push' ? [src, dst] : [dst, src];
  const local = resolve(context.cwd, here);
  for (const path of [local, there]) checkPath(name, path);
  checkFolder(name, direction, local);
  if (exclude.length + include.length > maxPatterns)
    throw usage({ name }, `--exclude and --include are at most ${maxPatterns} together`);
  return {
    direction,
    src: direction === 'push' ? local : src,
    dst: direction === 'push' ? dst : local,
    order: {
      machine,
      connectWaitMs: values['connect-wait'] ?? defaultConnectWaitMs,
      local: Buffer.from(local),
      remote: Buffer.from(there),
      // The last that matches counts: what is taken in wins.
      rules: [
        ...exclude.map((pattern) => ({ kind: 'exclude', pattern }) as const),
        ...include.map((pattern) => ({ kind: 'include', pattern }) as const),
      ],
      ignore: values['no-ignore'] !== true,
      delete: values.delete === true,
      checksum: values.checksum === true,
      dryRun: values['dry-run'] === true,
    },
  };
}

function checkPath(name: string, path: string): void {
  // What is no UTF-8 in an argument comes here as this character: it would be another folder.
  if (path.includes('\ufffd')) throw usage({ name }, 'a path is not UTF-8');
  if (Buffer.byteLength(path) > maxPathBytes)
    throw usage({ name }, `a path has at most ${maxPathBytes} bytes`);
}

function checkFolder(name: string, direction: Direction, local: string): void {
  const flag = direction === 'push' ? '--src' : '--dst';
  let there: ReturnType<typeof statSync>;
  try {
    there = statSync(local, { throwIfNoEntry: false });
  } catch (error) {
    const errno = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw usage({ name }, `${flag}: ${local} cannot be used (${errno})`);
  }
  if (there === undefined && direction === 'push') throw usage({ name }, `${flag}: there is no ${local}`);
  if (there?.isDirectory() === false)
    throw usage({ name }, `${flag}: ${local} is not a directory; file write and file read are for one file`);
}
