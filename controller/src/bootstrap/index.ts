/**
 * Bringing a machine up and down: what is put where on it, in which order, and what each step says when it fails. Knows
 * transports; nothing of the registry, of sessions or of HTTP.
 */
export { type DownContext, type DownResult, down } from './down.ts';
export { lookAtPlace, lookAtSystem } from './look.ts';
export { placeProgram } from './place-program.ts';
export { knownPlatforms, ownRuntimes, type RuntimeSources, unameOf } from './runtime.ts';
export { StoreEntries, type StoreEntry, type StoreFile } from './store-entry.ts';
export { type Installed, type Reach, type UpContext, type UpResult, up } from './up.ts';
