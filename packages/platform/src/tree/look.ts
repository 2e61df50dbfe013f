import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import {
  type BytePath,
  type Entry,
  maxMtimeUs,
  type NamedEntryType,
  permissionBits,
  systemPath,
} from './entry.ts';

/** What is there under an absolute path, a link itself; undefined where nothing is. Throws what the system says else. */
export function lookAt(absolute: BytePath): Stats | undefined {
  return lstatSync(systemPath(absolute), { throwIfNoEntry: false });
}

export function typeOf(stat: Stats): NamedEntryType {
  if (stat.isFile()) return 'file';
  if (stat.isDirectory()) return 'directory';
  return stat.isSymbolicLink() ? 'symlink' : 'other';
}

/** Rounded, so that a time which was set from it is read as the same again: Node tells times as fractions of 64 bits. */
export function mtimeUsOf({ mtimeMs }: Pick<Stats, 'mtimeMs'>): number {
  return Math.max(0, Math.min(maxMtimeUs, Math.round(mtimeMs * 1000)));
}

/**
 * What Node is given to set a time: a fraction of 64 bits, which some versions cut to whole microseconds. Where that would give
 * the one before, it is a fifth of a microsecond more.
 */
export function secondsOf(mtimeUs: number): number {
  const seconds = mtimeUs / 1e6;
  const whole = Math.trunc(seconds);
  return Math.floor((seconds - whole) * 1e6) < mtimeUs - whole * 1e6 ? seconds + 2e-7 : seconds;
}

export function entryOf(path: BytePath, stat: Stats, target: BytePath | undefined): Entry {
  const type = typeOf(stat);
  const file = type === 'file';
  return {
    path,
    type,
    mode: type === 'symlink' ? permissionBits : stat.mode & permissionBits,
    size: file ? stat.size : 0,
    mtimeUs: file ? mtimeUsOf(stat) : 0,
    ...(target !== undefined && { target }),
  };
}

export function targetOf(absolute: BytePath): BytePath {
  return readlinkSync(systemPath(absolute), { encoding: 'latin1' as BufferEncoding });
}
