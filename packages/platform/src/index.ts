/**
 * What touches Node and the operating system for everyone: durable files, locks, process identity, keys, paths, log
 * files, the `ws` adapter. Knows nothing of execs, machines or commands.
 */
export * from './backoff.ts';
export * from './clock.ts';
export * from './descriptors.ts';
export * from './durable.ts';
export * from './engine.ts';
export * from './failpoint.ts';
export * from './host-id.ts';
export * from './ids.ts';
export * from './job-marks.ts';
export * from './keys.ts';
export * from './lock.ts';
export * from './log-file.ts';
export * from './paths.ts';
export * from './process-identity.ts';
export * from './state-file.ts';
export * from './trusted-parents.ts';
export * from './ws-transport.ts';
