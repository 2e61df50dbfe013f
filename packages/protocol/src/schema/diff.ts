import { z } from 'zod';
import { objectId } from './git.ts';
import { execId } from './names.ts';

/** Of a patch: git reads no longer one. */
export const maxPatchBytes = 1023 * 1024 * 1024;

/** As git writes it in a tree: 100644, 100755, 120000 (symbolic link), 160000 (submodule). */
const treeMode = z.string().regex(/^[0-7]{6}$/);
const size = z.number().int().nonnegative();

/** One path that is another than before. Renames are a file that went and one that came. */
export const changedFile = z.object({
  /** From the top of the tree. */
  path: z.string().optional(),
  path_b64: z.string().optional(),
  status: z.enum(['added', 'deleted', 'modified', 'type_changed']),
  /** Absent where it was not there. */
  old_mode: treeMode.optional(),
  old_id: objectId.optional(),
  old_size: size.optional(),
  /** Absent where it is there no more. */
  new_mode: treeMode.optional(),
  new_id: objectId.optional(),
  new_size: size.optional(),
  /** Lines; absent for what is no text. */
  added_lines: size.optional(),
  deleted_lines: size.optional(),
});
export type ChangedFile = z.infer<typeof changedFile>;

/** From which tree to which. */
export const diffHead = z.object({
  commit: objectId,
  /** Of the commit. */
  tree: objectId,
  /** What is in the worktree, ignored files left out. */
  result: objectId,
  /** The exec goes on: it is the result of now. */
  running: z.boolean(),
  /** What git said of files that it could not read: they are as before in it. */
  skipped: z.string().max(2000).optional(),
});
export type DiffHead = z.infer<typeof diffHead>;

/** Events of `exec.diff`: the head, then pages of files or data of the patch, from `from` on, then the end. */
export const diffEvent = z.union([
  z.object({ diff: diffHead }),
  z.object({ files: z.array(changedFile) }),
  z.object({ end: z.object({ next: size, complete: z.literal(true) }) }),
]);
export type DiffEvent = z.infer<typeof diffEvent>;

/** What an exec changed in its worktree. */
export const diffVerbs = {
  /**
   * Event record of the head, then of `files` pages of event records, of `patch` data records of stream `content`, from the
   * file or byte `from` on; last an event record of the end. `result`: it must be the diff to this tree, or `file_changed`.
   */
  'exec.diff': {
    shape: 'records',
    params: z.strictObject({
      exec_id: execId,
      part: z.enum(['files', 'patch']),
      from: size,
      result: objectId.optional(),
    }),
    reply: z.never(),
  },
} as const;
