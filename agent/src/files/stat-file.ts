import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import type { FileInfo } from '@codex-remote/protocol/schema';
import { fileError, refusal } from './file-error.ts';
import { infoOf, lookAt, versionOf } from './file-info.ts';
import { openRegular } from './open-regular.ts';
import { textField } from './path.ts';

/** Read at once for a hash. */
const hashPieceBytes = 1024 * 1024;

/**
 * What `path` itself is. With `sha256` the content of a regular file is read for it; of a link, of what it leads to.
 * `goes`: asked between the pieces of that, it throws where nobody waits any more.
 */
export async function statFile(path: Buffer, sha256: boolean, goesOn: () => void): Promise<FileInfo> {
  try {
    const { stat, target } = await lookAt(path);
    const info = { ...infoOf(path, stat), ...(target && textField('target', target)) };
    return sha256 ? { ...info, sha256: await contentHash(path, goesOn) } : info;
  } catch (error) {
    throw fileError('look at', path, error);
  }
}

async function contentHash(path: Buffer, goesOn: () => void): Promise<string> {
  const { file, stat } = await openRegular('read', path);
  try {
    const sha256 = await hashOf(file, goesOn);
    if (versionOf(await file.stat({ bigint: true })) !== versionOf(stat)) throw changed('read', path);
    return sha256;
  } finally {
    await file.close();
  }
}

/** SHA-256 of all that can be read of it from its beginning, in hex. */
export async function hashOf(file: FileHandle, goesOn: () => void): Promise<string> {
  const hash = createHash('sha256');
  const piece = Buffer.allocUnsafe(hashPieceBytes);
  for (let at = 0; ; ) {
    goesOn();
    const { bytesRead } = await file.read(piece, 0, piece.byteLength, at);
    if (bytesRead === 0) return hash.digest('hex');
    hash.update(piece.subarray(0, bytesRead));
    at += bytesRead;
  }
}

export function changed(doing: string, path: Uint8Array) {
  return refusal('file_changed', doing, path, 'it was changed meanwhile', {
    hint: 'repeat it; of a file that is written all the time, read a copy, or the output of an exec with exec logs',
  });
}
