import { z } from 'zod';
import { maxShallow } from '../wire/git-limit.ts';
import { projectName, workspaceName } from './names.ts';

/** Name of an object in a repository with SHA-1, or with SHA-256. */
export const objectId = z.string().regex(/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/, '40 or 64 hex digits');

export const objectFormat = z.enum(['sha1', 'sha256']);
export type ObjectFormat = z.infer<typeof objectFormat>;

export function objectFormatOf(id: string): ObjectFormat {
  return id.length === 64 ? 'sha256' : 'sha1';
}

/** What is asked for by name: a branch, a tag, a commit. Only shown, or sent to git behind `--end-of-options`. */
export const refText = z
  .string()
  .min(1)
  .max(255)
  .refine((text) => !text.includes('\0'), 'a ref cannot hold a NUL');

/** What an exec of a project runs in. The commit is in the machine's mirror before the start: see `git.receive`, `git.fetch`. */
export const worktreeSpec = z.strictObject({
  /** The key of the mirror. */
  project: projectName,
  /** What was asked for; shown only. */
  ref: refText,
  commit: objectId,
  tree: objectId,
  /** The commit is a snapshot of changes that nobody has committed. */
  dirty: z.boolean(),
  /** The commit under such a snapshot. */
  base: objectId.optional(),
  /** Absent: a worktree of its own, which goes with the exec. */
  workspace: workspaceName.optional(),
  /** What is in the workspace and not of the commit is removed first. */
  clean: z.boolean().optional(),
  /** The worktree is not removed before the exec is. */
  keep: z.boolean().optional(),
});
export type WorktreeSpec = z.infer<typeof worktreeSpec>;

/** What is told of an exec's worktree. */
export const worktreeState = z.object({
  project: projectName,
  ref: z.string(),
  commit: objectId,
  tree: objectId,
  dirty: z.boolean(),
  base: objectId.optional(),
  workspace: workspaceName.optional(),
  /** Absolute, on the machine. */
  path: z.string(),
  kept: z.boolean().optional(),
  /** It is there no more. */
  removed: z.boolean().optional(),
});
export type WorktreeState = z.infer<typeof worktreeState>;

/** How many commits one `git.have` asks about and answers with; how many ends of a shallow history there may be. */
export const maxWants = 128;
export const maxTips = 256;
export { maxShallow };

/** Objects of a project on their way to a machine. Shapes are those of `agentVerbs`. */
export const gitVerbs = {
  /** `has`: those of `want` whose whole history is there. `tips`: commits of which the same is true, newest first. */
  'git.have': {
    shape: 'call',
    params: z.strictObject({ project: projectName, want: z.array(objectId).min(1).max(maxWants) }),
    reply: z.object({
      /** There is a mirror of that project for the format of `want`. */
      exists: z.boolean(),
      object_format: objectFormat,
      /** Commits whose parents are not there. */
      shallow: z.array(objectId),
      has: z.array(objectId),
      tips: z.array(objectId),
    }),
  },
  /**
   * Body: data records of stream `content`, a packfile, thin or not; last a `writeTrailer`. `shallow`: commits of it whose
   * parents the sender does not have either. Whole or not at all, durable when it replies.
   */
  'git.receive': {
    shape: 'upload',
    params: z.strictObject({
      project: projectName,
      commit: objectId,
      object_format: objectFormat,
      shallow: z.array(objectId).max(maxShallow),
      /** Of the packfile, where it is known: whether there is room is told before it is sent. */
      size: z.number().int().nonnegative().optional(),
    }),
    reply: z.object({ commit: objectId, tree: objectId }),
  },
  /** The machine fetches by itself, with its own credentials and nobody to ask. */
  'git.fetch': {
    shape: 'call',
    params: z.strictObject({ project: projectName, url: z.string().min(1).max(2048), ref: refText }),
    reply: z.object({ commit: objectId, tree: objectId }),
  },
  /** The mirror and all worktrees and workspaces of it; refused while an exec runs in one. */
  'git.remove': {
    shape: 'call',
    params: z.strictObject({ project: projectName }),
    reply: z.object({ removed: z.boolean() }),
  },
} as const;
