/** How many worktrees of ended execs stay, and how much disk all of them together. The oldest go first. */
export interface WorktreeLimits {
  readonly maxCount: number;
  readonly maxTotalBytes: number;
}

export const defaultWorktreeLimits: WorktreeLimits = Object.freeze({
  maxCount: 50,
  maxTotalBytes: 20 * 1024 ** 3,
});

export interface EndedWorktree {
  readonly id: string;
  readonly endedMs: number;
  readonly bytes: number;
}

/** Which are over a limit, the oldest first. Pure. */
export function overWorktreeLimits(ended: readonly EndedWorktree[], limits: WorktreeLimits): string[] {
  const newestFirst = [...ended].sort((a, b) => b.endedMs - a.endedMs);
  let total = 0;
  return newestFirst
    .filter(({ bytes }, index) => {
      total += bytes;
      return index >= limits.maxCount || total > limits.maxTotalBytes;
    })
    .map(({ id }) => id)
    .reverse();
}
