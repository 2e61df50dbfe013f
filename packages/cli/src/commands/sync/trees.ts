/** What the commands load when they run: the bundler leaves it out of every program but `sync.cjs`, by this file's name. */
export { SyncClient } from '@codex-remote/client/sync';
export { heldBackOf } from './held-back.ts';
