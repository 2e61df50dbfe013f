/**
 * Git as a program that is run for us: how it is called so that neither a repository nor an environment decides what else
 * runs. What is done with it is told by who calls. An entry of its own: nothing that must be quick loads it.
 */
export * from './call.ts';
export type * from './feed.ts';
export * from './git.ts';
export * from './process.ts';
