import { z } from 'zod';
import { fileVersion, remotePath, sha256Hex } from './files.ts';
import { execId } from './names.ts';

/** Bounds of what one exec can name as artifacts. */
export const maxArtifactGlobs = 64;
export const maxArtifactGlobBytes = 512;
/** How many files a state names, and in how many bytes of JSON; `count` and `bytes` are of all. */
export const maxListedArtifacts = 200;
export const maxListedArtifactBytes = 16 * 1024;
/** How many of what was left out a state names, and in how many bytes of paths; `skipped_count` is of all. */
export const maxSkippedArtifacts = 20;
export const maxSkippedArtifactBytes = 4 * 1024;

/** From the working directory of the exec, and never out of it. */
export const artifactGlob = z
  .string()
  .min(1)
  .refine((text) => !text.includes('\0'), 'a glob cannot hold a NUL')
  .refine(
    (text) => new TextEncoder().encode(text).byteLength <= maxArtifactGlobBytes,
    `a glob has at most ${maxArtifactGlobBytes} bytes`,
  )
  .refine((text) => !text.startsWith('/'), 'a glob begins in the working directory, not with /')
  .refine((text) => !text.split('/').includes('..'), 'a glob does not lead out of the working directory');

const count = z.number().int().nonnegative();
/** From the working directory, in the field with `_b64` where it is not UTF-8. */
const artifactPath = { path: z.string().optional(), path_b64: z.string().optional() } as const;

export const artifactFile = z.object({
  ...artifactPath,
  size: count,
  /** Of what is kept. */
  sha256: sha256Hex,
  /** Permission bits of the file that it was taken from. */
  mode: count.optional(),
  /** It was written to while it was taken. */
  changed: z.literal(true).optional(),
  /** As a list of artifacts in the working directory calls it. */
  name: z.string().max(200).optional(),
  type: z.string().max(64).optional(),
});
export type ArtifactFile = z.infer<typeof artifactFile>;

/**
 * What was named and is not kept. `why`: `no_match`, `symlink`, `not_regular`, `outside`, `git`, `unreadable`, `too_large`,
 * `too_many`, `disk_low`; others may follow.
 */
export const skippedArtifact = z.object({ ...artifactPath, why: z.string().max(64) });
export type SkippedArtifact = z.infer<typeof skippedArtifact>;

/** What an exec left of what it was asked for, told with its end. */
export const artifactsState = z.object({
  files: z.array(artifactFile).max(maxListedArtifacts),
  count,
  bytes: count,
  skipped: z.array(skippedArtifact).max(maxSkippedArtifacts).optional(),
  skipped_count: count.optional(),
  /** Whose list of artifacts was in the working directory. */
  manifest: z.literal('codex-runner').optional(),
  /** Why there are not all, or none. */
  error: z.string().max(1000).optional(),
});
export type ArtifactsState = z.infer<typeof artifactsState>;

/** Events of `artifact.list`: pages in order, then the end. */
export const artifactListEvent = z.union([
  z.object({ files: z.array(artifactFile) }),
  z.object({ end: z.object({ count, bytes: count }) }),
]);
export type ArtifactListEvent = z.infer<typeof artifactListEvent>;

/** What is kept of execs. Shapes are those of `agentVerbs`. */
export const artifactVerbs = {
  /** Event records: pages of all that is kept, from the file of number `from` on, then the end. */
  'artifact.list': {
    shape: 'records',
    params: z.strictObject({ exec_id: execId, from: count }),
    reply: z.never(),
  },
  /** As `file.read`, of what is kept under a path of the list; `version` is that of an earlier answer. */
  'artifact.read': {
    shape: 'records',
    params: z.strictObject({
      exec_id: execId,
      path: remotePath,
      from: count,
      max_bytes: count.optional(),
      version: fileVersion.optional(),
    }),
    reply: z.never(),
  },
} as const;
