/** What these commands load where they need it: the bundler leaves it out of every program but `sync.cjs`, by this file's name. */
export { applyToTree } from '@codex-remote/client/apply';
export { Git } from '@codex-remote/platform/git';
export { inWorktree } from './in-worktree.ts';
