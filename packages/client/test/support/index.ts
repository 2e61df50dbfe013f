/** What tests of programs that use the client share. */
export * from './controller.ts';
export * from './job.ts';
