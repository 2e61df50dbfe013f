import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { fileError, refusal } from './file-error.ts';
import { typeOf } from './file-info.ts';

/** An open regular file, and what it was then. Who has it closes `file`. */
export interface OpenFile {
  readonly file: FileHandle;
  readonly stat: BigIntStats;
}

/**
 * Opens a regular file for reading, through symbolic links. What is none is never opened where that can be told before, and
 * never waited for: opening a device can do things, and a FIFO waits for its writer. Throws `file_not_found`, `is_directory`,
 * `file_type` and the rest of file-error.ts.
 */
export async function openRegular(doing: string, path: Buffer): Promise<OpenFile> {
  try {
    requireRegular(doing, path, await stat(path, { bigint: true }));
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    try {
      const opened = await file.stat({ bigint: true });
      requireRegular(doing, path, opened);
      return { file, stat: opened };
    } catch (error) {
      await file.close();
      throw error;
    }
  } catch (error) {
    throw fileError(doing, path, error);
  }
}

function requireRegular(doing: string, path: Buffer, found: BigIntStats): void {
  const type = typeOf(found);
  if (type === 'file') return;
  if (type === 'directory')
    throw refusal('is_directory', doing, path, 'it is a directory', {
      hint: 'file list shows what is in it',
    });
  throw refusal('file_type', doing, path, `it is a ${type}, not a regular file`, {
    hint: 'exec run can use it',
    facts: { type },
  });
}
