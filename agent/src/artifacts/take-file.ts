import { createHash } from 'node:crypto';
import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, lstat, open, realpath, rm, statfs } from 'node:fs/promises';
import type { ArtifactFile } from '@codex-remote/protocol/schema';
import { errnoOf } from '../files/file-error.ts';
import { versionOf } from '../files/file-info.ts';
import { below, splitPath } from '../files/path.ts';

/** Why a file is not kept, as a `SkippedArtifact` has it. */
export type Refused = 'symlink' | 'not_regular' | 'outside' | 'unreadable' | 'too_large' | 'disk_low';

/** What was taken of a file, without its path. */
export type Taken = Omit<ArtifactFile, 'path' | 'path_b64'>;

export interface TakeOrder {
  /** Absolute and real: nothing under it is reached through a symbolic link. */
  readonly root: Buffer;
  /** From there. */
  readonly path: Buffer;
  /** A name that is free, 0600 afterwards. */
  readonly to: string;
  readonly maxBytes: number;
  readonly reserveBytes: number;
  /** Asked between the pieces; it throws where nothing more is wanted. */
  readonly goesOn: () => void;
}

const pieceBytes = 1024 * 1024;

/**
 * Copies a regular file as long as it was when it was opened, and says what was copied. Nothing is left of one that is
 * refused. Throws what `goesOn` throws, and what the system says of `to`.
 */
export async function takeFile(order: TakeOrder): Promise<Taken | Refused> {
  const source = await openInside(order.root, order.path);
  if (typeof source === 'string') return source;
  try {
    const { size } = source.stat;
    if (size > order.maxBytes) return 'too_large';
    if (size > (await freeBytes(order))) return 'disk_low';
    return await copy(source, order);
  } finally {
    await source.file.close();
  }
}

interface Source {
  readonly file: FileHandle;
  readonly stat: BigIntStats;
}

/** What it is is looked at once more when it is open: someone could have put another thing in its place. */
async function openInside(root: Buffer, path: Buffer): Promise<Source | Refused> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = constants;
  const itself = below(root, path);
  try {
    const file = await open(itself, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    try {
      const stat = await file.stat({ bigint: true });
      const refused = stat.isFile() ? await reached(itself, stat) : 'not_regular';
      if (!refused) return { file, stat };
      await file.close();
      return refused;
    } catch (error) {
      await file.close();
      throw error;
    }
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    if (errno === 'ELOOP') return 'symlink';
    return errno === 'ENXIO' ? 'not_regular' : 'unreadable';
  }
}

/** Undefined: by folders only, and it is what has that name. */
async function reached(path: Buffer, opened: BigIntStats): Promise<'outside' | undefined> {
  const { folder } = splitPath(path);
  const real = await realpath(folder, { encoding: 'buffer' });
  const named = await lstat(path, { bigint: true });
  return real.equals(folder) && named.ino === opened.ino && named.dev === opened.dev ? undefined : 'outside';
}

/** Beyond what is to stay free. */
async function freeBytes({ to, reserveBytes }: TakeOrder): Promise<number> {
  const { bavail, bsize } = await statfs(splitPath(Buffer.from(to)).folder);
  return bavail * bsize - reserveBytes;
}

async function copy({ file, stat }: Source, order: TakeOrder): Promise<Taken | Refused> {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const to = await open(order.to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  let whole = false;
  try {
    const copied = await pour(file, Number(stat.size), to, order.goesOn);
    const changed = versionOf(await file.stat({ bigint: true })) !== versionOf(stat);
    whole = true;
    return { ...copied, mode: Number(stat.mode & 0o777n), ...(changed && { changed }) };
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOSPC' || errno === 'EDQUOT') return 'disk_low';
    if (errno === 'EIO' || errno === 'ESTALE') return 'unreadable';
    throw error;
  } finally {
    await to.close();
    if (!whole) await rm(order.to, { force: true });
  }
}

async function pour(from: FileHandle, size: number, to: FileHandle, goesOn: () => void) {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(Math.min(pieceBytes, Math.max(1, size)));
  let at = 0;
  while (at < size) {
    goesOn();
    const { bytesRead } = await from.read(buffer, 0, Math.min(buffer.byteLength, size - at), at);
    if (bytesRead === 0) break;
    const piece = buffer.subarray(0, bytesRead);
    hash.update(piece);
    for (let sent = 0; sent < bytesRead; )
      sent += (await to.write(piece, sent, bytesRead - sent, at + sent)).bytesWritten;
    at += bytesRead;
  }
  return { size: at, sha256: hash.digest('hex') };
}
