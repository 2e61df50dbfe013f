import { type BigIntStats, constants } from 'node:fs';
import { access, lstat, realpath, stat, statfs } from 'node:fs/promises';
import { RemoteError } from '@codex-remote/protocol/wire';
import { errnoOf, fileError, refusal } from './file-error.ts';
import { typeOf, versionOf } from './file-info.ts';
import { openRegular } from './open-regular.ts';
import { below, shownPath, splitPath, textField } from './path.ts';
import { hashOf } from './stat-file.ts';

/** Where a write goes: a name in a folder, and what has that name now. */
export interface WriteTarget {
  /** Without symbolic links in its folder, and none itself. */
  readonly path: Buffer;
  readonly folder: Buffer;
  /** The regular file that is there. */
  readonly there: BigIntStats | undefined;
}

export interface Conditions {
  readonly create_only: boolean;
  readonly expect_sha256?: string | undefined;
}

/**
 * Follows symbolic links as an editor does: the file that they lead to is replaced, in its own folder, and the link stays.
 * One that leads nowhere is refused, as cp does. Throws as file-error.ts says.
 */
export async function findTarget(path: Buffer, { create_only }: Conditions): Promise<WriteTarget> {
  try {
    const { folder, name } = splitPath(path);
    if (path.at(-1) === 0x2f || name.equals(Buffer.from('.')) || name.equals(Buffer.from('..')))
      throw refusal('is_directory', 'write', path, 'the path names a directory', {
        hint: 'end it with the name of a file; file mkdir makes directories',
      });
    const itself = below(await realpath(folder, { encoding: 'buffer' }), name);
    const entry = await statOrNothing(() => lstat(itself, { bigint: true }));
    if (entry && create_only) throw exists(path);
    if (!entry?.isSymbolicLink()) return targetOf(path, itself, entry);
    const real = await realpath(itself, { encoding: 'buffer' }).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
      throw refusal('file_type', 'write', path, 'it is a symbolic link that leads nowhere', {
        hint: 'file stat shows where it leads; write there, or remove the link',
      });
    });
    return targetOf(path, real, await lstat(real, { bigint: true }));
  } catch (error) {
    throw fileError('write', path, error);
  }
}

async function targetOf(path: Buffer, real: Buffer, there: BigIntStats | undefined): Promise<WriteTarget> {
  const { folder } = splitPath(real);
  if (!there) return { path: real, folder, there };
  const type = typeOf(there);
  if (type === 'directory')
    throw refusal('is_directory', 'write', path, 'it is a directory', { hint: 'add the name of a file' });
  if (type !== 'file')
    throw refusal('file_type', 'write', path, `it is a ${type}, not a regular file`, {
      hint: 'exec run can use it',
      facts: { type },
    });
  // Who may write to the folder could replace it. That it is not to be written is meant all the same.
  await access(real, constants.W_OK);
  return { path: real, folder, there };
}

export function exists(path: Buffer): RemoteError {
  return refusal('file_exists', 'write', path, 'something of that name is there', {
    hint: '--create-only writes only where nothing is; file stat tells what is there',
  });
}

/** A file whose digest is known, for as long as it is this one. */
export interface Known {
  readonly version: string;
  readonly sha256: string;
}

/** Throws `conflict` where the content that is there is another one. What is `known` is not read again. */
export async function checkContent(
  path: Buffer,
  target: WriteTarget,
  { expect_sha256 }: Conditions,
  known: Known | undefined,
  goesOn: () => void,
): Promise<Known | undefined> {
  if (expect_sha256 === undefined) return undefined;
  const there = await statOrNothing(() => stat(target.path, { bigint: true }));
  if (!there) throw conflict(path, 'there is no such file', undefined);
  const version = versionOf(there);
  const now = known?.version === version ? known : await read(target.path, goesOn);
  if (now.sha256 !== expect_sha256) throw conflict(path, 'its content is not what was expected', now.sha256);
  return now;
}

async function read(path: Buffer, goesOn: () => void): Promise<Known> {
  const { file, stat: opened } = await openRegular('write', path);
  try {
    return { version: versionOf(opened), sha256: await hashOf(file, goesOn) };
  } finally {
    await file.close();
  }
}

function conflict(path: Buffer, says: string, sha256: string | undefined): RemoteError {
  return new RemoteError('conflict', `conflict: cannot write ${shownPath(path)}: ${says}`, {
    hint: 'read what is there now, then decide; nothing was written',
    facts: { ...textField('path', path), ...(sha256 !== undefined && { sha256 }) },
  });
}

/** Throws `disk_low` where so many bytes do not fit. */
export async function checkRoom(path: Buffer, folder: Buffer, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free >= bytes) return;
  throw refusal('disk_low', 'write', path, `${bytes} bytes are wanted and ${free} are free there`, {
    hint: 'free some disk there; what was there is as it was',
    facts: { free_bytes: free },
  });
}

async function statOrNothing(look: () => Promise<BigIntStats>): Promise<BigIntStats | undefined> {
  return look().catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
}
