/**
 * Bringing a machine up and down: what is put where on it, in which order, and what each step says when it fails. Knows
 * transports; nothing of the registry, of sessions or of HTTP.
 */
export { type DownContext, type DownResult, down } from './down.ts';
export { ownRuntimes, type RuntimeSources } from './runtime.ts';
export { StoreEntries } from './store-entry.ts';
export { type Installed, type Reach, type UpContext, type UpResult, up } from './up.ts';
