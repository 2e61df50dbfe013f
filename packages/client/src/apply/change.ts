import type { ChangedFile } from '@codex-remote/protocol/schema';
import type { BytePath } from './names.ts';

/** One side of a change. */
export interface Version {
  /** As git writes it: 100644, 100755, 120000, 160000. */
  readonly mode: string;
  readonly id: string;
}

/** What an exec has done to one path. */
export interface Change {
  readonly path: BytePath;
  readonly status: ChangedFile['status'];
  /** Absent: it was not there. */
  readonly old?: Version;
  /** Absent: it is there no more. */
  readonly new?: Version;
}

export const modes = {
  symlink: '120000',
  submodule: '160000',
  executable: '100755',
  file: '100644',
} as const;

export function changeOf({ path, path_b64, status, ...file }: ChangedFile): Change {
  const { old_mode, old_id, new_mode, new_id } = file;
  return {
    path: (path_b64 === undefined ? Buffer.from(path ?? '') : Buffer.from(path_b64, 'base64')).toString(
      'latin1',
    ),
    status,
    ...(old_mode !== undefined && old_id !== undefined && { old: { mode: old_mode, id: old_id } }),
    ...(new_mode !== undefined && new_id !== undefined && { new: { mode: new_mode, id: new_id } }),
  };
}
