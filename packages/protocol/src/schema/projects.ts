import { z } from 'zod';
import { maxRepositoryUrlLength, readRepositoryUrl } from '../wire/repository-url.ts';
import { maxPathBytes } from './files.ts';
import { refText } from './git.ts';
import { machineName, projectName } from './names.ts';

const repositoryUrl = z
  .string()
  .max(maxRepositoryUrlLength)
  .superRefine((text, context) => {
    const { refused } = readRepositoryUrl(text);
    if (refused !== undefined) context.addIssue({ code: 'custom', message: `the URL ${refused}` });
  });

const absolutePath = z
  .string()
  .max(maxPathBytes)
  .refine((path) => path.startsWith('/') && !path.includes('\0'), 'an absolute path');

/** Where the commits of a project come from. */
export const projectRepo = z.discriminatedUnion('kind', [
  /** A repository on the host of the controller: what a machine lacks is sent to it. */
  z.strictObject({ kind: z.literal('path'), path: absolutePath }),
  /** The machine fetches by itself. */
  z.strictObject({ kind: z.literal('url'), url: repositoryUrl }),
]);
export type ProjectRepo = z.infer<typeof projectRepo>;

const shared = {
  /** It is for these machines alone; absent: for every one. */
  machines: z.array(machineName).min(1).max(1000).optional(),
  /** What an exec runs at where it names no ref. */
  default_ref: refText.optional(),
} as const;

export const projectAdd = z.strictObject({ name: projectName, repo: projectRepo, ...shared });
export type ProjectAdd = z.infer<typeof projectAdd>;

/** As it is kept. */
export const projectRecord = z.object({
  name: projectName,
  repo: projectRepo,
  ...shared,
  added_at: z.string(),
});
export type ProjectRecord = z.infer<typeof projectRecord>;

export const projectView = z.object({
  project: projectName,
  /** Without `path` for a caller that is elsewhere. */
  repo: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('path'), path: z.string().optional() }),
    z.object({ kind: z.literal('url'), url: z.string() }),
  ]),
  ...shared,
  added_at: z.string(),
});
export type ProjectView = z.infer<typeof projectView>;

/** `mirrors`: what became of the copies on machines that were asked to remove theirs, with the code of the error where one did not. */
export const projectRemoved = z.object({
  removed: z.literal(true),
  mirrors: z.array(z.object({ machine: machineName, removed: z.boolean(), error: z.string().optional() })),
});
export type ProjectRemoved = z.infer<typeof projectRemoved>;
