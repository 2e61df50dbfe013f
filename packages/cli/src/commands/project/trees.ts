/** What these commands load where they need it: the bundler leaves it out of every program but `sync.cjs`, by this file's name. */
export { Repository } from '@codex-remote/client/git';
