import { readStateFile } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';

/** `audit.json` in the controller's config folder. Without it everything is kept. */
const settings = z.strictObject({
  /** A file of the log is followed by another at this size. */
  segment_bytes: z
    .number()
    .int()
    .min(256)
    .default(16 * 1024 * 1024),
  /** The oldest files go when all have more than this, or when their last line is older; absent: none ever goes. */
  keep_bytes: z.number().int().positive().optional(),
  keep_days: z.number().positive().optional(),
});
export type AuditSettings = z.infer<typeof settings>;

/** Throws `state_unusable`: who asked for retention must not get another one. */
export function readAuditSettings(path: string): AuditSettings {
  const text = readStateFile(path);
  if (text === undefined) return settings.parse({});
  try {
    return settings.parse(JSON.parse(text));
  } catch (error) {
    throw new RemoteError(
      'state_unusable',
      `${path} cannot be understood: segment_bytes, keep_bytes, keep_days, each a number`,
      { hint: `repair ${path}, or move it away: then the audit log is kept whole` },
      error,
    );
  }
}

export const defaultAuditSettings: AuditSettings = settings.parse({});
