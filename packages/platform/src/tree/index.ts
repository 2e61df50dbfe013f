/**
 * Trees of files that travel: what is in one, how that is written down, where two differ, and how the difference is written so
 * that nothing outside of the tree is touched whatever a peer or another process does. Knows no wire. An entry of its own:
 * nothing that must be quick loads it.
 */
export * from './action.ts';
export * from './chunks.ts';
export * from './compare.ts';
export * from './entry.ts';
export { Filter, type FilterRule, IgnoreFiles } from './ignored.ts';
export * from './limits.ts';
export { mtimeUsOf, secondsOf } from './look.ts';
export * from './manifest-encoder.ts';
export * from './manifest-parser.ts';
export * from './names.ts';
export { TreeReader } from './reader.ts';
export * from './scan.ts';
export { StagedFile } from './staged-file.ts';
export { shownPath } from './tree-error.ts';
export { TreeWriter } from './writer.ts';
