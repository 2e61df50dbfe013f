import { type BigIntStats, closeSync, lstatSync, openSync, readlinkSync, readSync } from 'node:fs';
import type { BytePath } from './names.ts';
import { below, folderOf } from './steps.ts';

/** What stood at a path, well enough to know whether it still does. */
export interface Seen {
  readonly type: 'file' | 'symlink' | 'directory' | 'other';
  /** Somebody may execute it. */
  readonly executable: boolean;
  readonly mode: number;
  readonly size: bigint;
  readonly identity: string;
}

/** Of this host's file system. */
export function localPath(root: string, path: BytePath): Buffer {
  return Buffer.concat([Buffer.from(path === '' ? root : `${root}/`), Buffer.from(path, 'latin1')]);
}

/** The name itself: a link is not followed. Undefined where there is nothing, or the way there leads over something else. */
export function lookAt(root: string, path: BytePath): Seen | undefined {
  try {
    const stat = lstatSync(localPath(root, path), { bigint: true, throwIfNoEntry: false });
    return stat && seenOf(stat);
  } catch (error) {
    if (errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** Whether all on the way to `path` are folders, as far as there is anything: what is written there stays inside. */
export function wayIsPlain(root: string, path: BytePath): boolean {
  let folder = '';
  for (const part of folderOf(path).split('/').filter(Boolean)) {
    folder = below(folder, part);
    const there = lookAt(root, folder);
    if (!there) return true;
    if (there.type !== 'directory') return false;
  }
  return true;
}

/** The same content under the same name, as far as anyone can tell without reading it. */
export function sameSeen(seen: Seen, stat: BigIntStats): boolean {
  return seen.identity === seenOf(stat).identity;
}

function seenOf(stat: BigIntStats): Seen {
  const { dev, ino, size, mtimeNs, ctimeNs, mode } = stat;
  return {
    type: stat.isFile()
      ? 'file'
      : stat.isSymbolicLink()
        ? 'symlink'
        : stat.isDirectory()
          ? 'directory'
          : 'other',
    executable: (mode & 0o100n) !== 0n,
    mode: Number(mode & 0o7777n),
    size,
    identity: [dev, ino, size, mtimeNs, ctimeNs, mode].join(' '),
  };
}

const pieceBytes = 1024 * 1024;

/** SHA-256 of a file's bytes, or where a link leads, as the journal has it. Throws where there is nothing. */
export function digestOf(path: Buffer): string {
  const stat = lstatSync(path);
  if (stat.isSymbolicLink()) return `-> ${readlinkSync(path, 'buffer').toString('latin1')}`;
  if (!stat.isFile()) return 'neither';
  const hash = process.getBuiltinModule('node:crypto').createHash('sha256');
  const fd = openSync(path, 'r');
  try {
    const piece = Buffer.allocUnsafe(pieceBytes);
    for (let read = readSync(fd, piece); read > 0; read = readSync(fd, piece))
      hash.update(piece.subarray(0, read));
  } finally {
    closeSync(fd);
  }
  return hash.digest('hex');
}

export function errnoOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}
