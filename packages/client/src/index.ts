/**
 * The controller's HTTP API for programs: requests over its Unix socket or TLS, followers that survive its restart, log lines
 * and answers as the contract has them. Knows nothing of argument vectors, terminals and exit codes; loads neither
 * `node:http` nor zod.
 */
export * from './answer.ts';
export * from './build.ts';
export * from './client.ts';
export * from './connection.ts';
export * from './diff-client.ts';
export * from './endpoint.ts';
export * from './file-client.ts';
export { type FilePart, readInfo } from './file-content.ts';
export * from './follow.ts';
export * from './http.ts';
export * from './json-lines.ts';
export * from './lines.ts';
export * from './log-stream.ts';
export * from './project-client.ts';
export * from './records.ts';
export * from './remote.ts';
export * from './remote-settings.ts';
export * from './resume.ts';
export * from './sanitize.ts';
export * from './send-file.ts';
export * from './shape.ts';
export * from './start-controller.ts';
export * from './tail.ts';
export * from './upload.ts';
export * from './views.ts';
