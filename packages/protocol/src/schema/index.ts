/**
 * What travels, as zod schemas: parse at the edge, then trust. Imports zod, so the CLI's hot path takes only types from
 * here (`import type`) and values from `wire`.
 */
export * from './agent-api.ts';
export * from './artifacts.ts';
export * from './audit.ts';
export * from './controller-api.ts';
export * from './diff.ts';
export * from './exec.ts';
export * from './files.ts';
export * from './git.ts';
export * from './hello.ts';
export * from './names.ts';
export * from './policy.ts';
export * from './policy-pattern.ts';
export * from './projects.ts';
export * from './service.ts';
export * from './sync.ts';
