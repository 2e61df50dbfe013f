/**
 * Commits of this host on their way to machines: which one a name means, a snapshot of what nobody has committed, the pack
 * of what a machine lacks. Git runs as the user who asks; nothing of the repository is changed. An entry of its own: other
 * programs of the client have no git.
 */
export * from './bring.ts';
export * from './git-client.ts';
export * from './repository.ts';
export * from './snapshot.ts';
export * from './snapshot-store.ts';
