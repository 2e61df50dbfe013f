import { z } from 'zod';
import { remotePath } from './files.ts';

const count = z.number().int().nonnegative();

/** What of a tree is meant, and what is to become of the other one. */
const syncParams = z.strictObject({
  /** Of the machine: the root of the tree. */
  path: remotePath,
  /** What `.gitignore` files and git leave out is left out. */
  ignore: z.boolean(),
  /** What the target has and the source does not is removed. */
  delete: z.boolean(),
  /** Files of one size and time are compared by their content too. */
  checksum: z.boolean(),
  /** Nothing is written: it is told what would be. */
  dry_run: z.boolean(),
  /** Everything that is done is told, and not only what is refused. */
  verbose: z.boolean(),
});
export type SyncParams = z.infer<typeof syncParams>;

/** Two trees that are made alike: a conversation of source and target, whichever of the two the machine is. */
export const syncVerbs = {
  /** The agent is the target: it compares, asks and writes. */
  'sync.push': { shape: 'exchange', params: syncParams, reply: z.never() },
  /** The agent is the source: it tells its tree and sends what is asked for. */
  'sync.pull': { shape: 'exchange', params: syncParams, reply: z.never() },
} as const;

/** What was done, or with `dry_run` would be; as the target says. */
export const syncCounts = z.object({
  entries: count,
  files: count,
  directories: count,
  links: count,
  /** Modes and times alone. */
  changed: count,
  removed: count,
  unchanged: count,
  /** Content of the files. */
  bytes: count,
  /** Of it, what was there already. */
  reused: count,
  refused: count,
});
export type SyncCounts = z.infer<typeof syncCounts>;

/** Last record of an agent's side, an event. */
export const syncEnd = z.object({ end: syncCounts.partial() });

/** What the caller says first. */
export const syncRules = z.object({
  /** What leaves names out and takes them in; of those that match, the last one counts. */
  rules: z.array(z.object({ kind: z.enum(['exclude', 'include']), pattern: z.string().max(4096) })).max(1000),
});
export type SyncRules = z.infer<typeof syncRules>;
