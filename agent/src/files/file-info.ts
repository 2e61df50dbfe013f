import type { BigIntStats } from 'node:fs';
import { lstat, readlink } from 'node:fs/promises';
import type { FileEntry, FileInfo, FileType } from '@codex-remote/protocol/schema';
import { textField } from './path.ts';

export function typeOf(stat: BigIntStats): FileType {
  if (stat.isFile()) return 'file';
  if (stat.isDirectory()) return 'directory';
  if (stat.isSymbolicLink()) return 'symlink';
  if (stat.isFIFO()) return 'fifo';
  if (stat.isSocket()) return 'socket';
  return stat.isCharacterDevice() || stat.isBlockDevice() ? 'device' : 'other';
}

/** The same for the same content of the same file, as far as the system tells: it tells time in steps of milliseconds. */
export function versionOf(stat: BigIntStats): string {
  const { dev, ino, size, mtimeNs, ctimeNs } = stat;
  return [dev, ino, size, mtimeNs, ctimeNs].map((part) => part.toString(16)).join('-');
}

export function infoOf(path: Uint8Array, stat: BigIntStats): FileInfo {
  return {
    ...textField('path', path),
    ...attributesOf(stat),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    ...(stat.isFile() && { version: versionOf(stat) }),
  };
}

/** What `path` itself is, a symbolic link with where it leads. Throws what the system says. */
export async function lookAt(path: Buffer): Promise<{ stat: BigIntStats; target?: Buffer }> {
  const stat = await lstat(path, { bigint: true });
  return stat.isSymbolicLink() ? { stat, target: await readlink(path, { encoding: 'buffer' }) } : { stat };
}

export function entryOf(name: Uint8Array, stat: BigIntStats, target: Uint8Array | undefined): FileEntry {
  return { ...textField('name', name), ...attributesOf(stat), ...(target && textField('target', target)) };
}

function attributesOf(stat: BigIntStats) {
  return {
    type: typeOf(stat),
    size: Number(stat.size),
    mode: Number(stat.mode & 0o7777n),
    mtime: timeOf(stat.mtimeMs),
  };
}

/** The last moment that a Date can be. */
const lastMs = 8.64e15;

/** Files can be from times that no calendar of ours knows. */
function timeOf(ms: bigint): string {
  return new Date(Math.max(-lastMs, Math.min(lastMs, Number(ms)))).toISOString();
}
