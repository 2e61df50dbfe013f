/**
 * What machines keep of execs: its list, and how it comes into a folder of this host without touching anything outside of
 * that. An entry of its own: other programs of the client have no use for it.
 */
export * from './artifact-client.ts';
export * from './destination.ts';
export * from './fetch-artifacts.ts';
