import { z } from 'zod';
import { sha256Hex } from './files.ts';

/** Bounds of what one exec can name as artifacts. */
export const maxArtifactGlobs = 64;
export const maxArtifactGlobBytes = 512;
/** How many files a state names; `count` and `bytes` are of all. */
export const maxListedArtifacts = 200;

/** From the working directory of the exec. */
export const artifactGlob = z
  .string()
  .min(1)
  .refine((text) => !text.includes('\0'), 'a glob cannot hold a NUL')
  .refine(
    (text) => new TextEncoder().encode(text).byteLength <= maxArtifactGlobBytes,
    `a glob has at most ${maxArtifactGlobBytes} bytes`,
  );

export const artifactFile = z.object({
  path: z.string(),
  size: z.number().int().nonnegative(),
  sha256: sha256Hex,
});
export type ArtifactFile = z.infer<typeof artifactFile>;

/** What an exec left of what it was asked for, told with its end. */
export const artifactsState = z.object({
  files: z.array(artifactFile).max(maxListedArtifacts),
  count: z.number().int().nonnegative(),
  bytes: z.number().int().nonnegative(),
  skipped: z.array(z.object({ path: z.string(), why: z.string() })).optional(),
  /** Whose list of artifacts was in the working directory. */
  manifest: z.literal('codex-runner').optional(),
  /** Why there are not all, or none. */
  error: z.string().optional(),
});
export type ArtifactsState = z.infer<typeof artifactsState>;
