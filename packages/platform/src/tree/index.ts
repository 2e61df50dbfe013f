/**
 * Trees of files that travel: what is in one, how that is written down, where two differ, and how the difference is written so
 * that nothing outside of the tree is touched whatever a peer or another process does. Knows no wire. An entry of its own:
 * nothing that must be quick loads it.
 */
export * from './entry.ts';
export type { FilterRule, IgnoreFile } from './ignored.ts';
export * from './limits.ts';
export { mtimeUsOf, secondsOf } from './look.ts';
export * from './manifest-encoder.ts';
export * from './manifest-parser.ts';
export * from './names.ts';
export * from './scan.ts';
