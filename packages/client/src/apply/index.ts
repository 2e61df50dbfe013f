/**
 * What an exec changed on a machine, made of a tree here: which files that is safe for, whether the tree is still the one it
 * started from, and all of them or none. An entry of its own: nothing that must be quick loads it.
 */
export * from './apply.ts';
export * from './autorun.ts';
export * from './change.ts';
export * from './hold-back.ts';
export * from './names.ts';
