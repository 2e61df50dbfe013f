import type { NamedEntryType } from './entry.ts';
import { treeLimits } from './limits.ts';

/**
 * How a manifest is written: a byte `manifestVersion`, then an entry each, then the end. Numbers are varints (seven bits a
 * byte, the lowest first). An entry:
 *
 *     1 byte   bits 0-1: type; bit 2: a mode follows; bit 3: a SHA-256 follows; bits 4-7: folders that are left before it
 *              (15: at least so many, and the rest follows as a number)
 *     number   bytes of the name, then the name itself: of one folder, never a path
 *     number   mode, where bit 2 says so; else that of the last entry of its type
 *     file     its size; the seconds of its time less those of the last file, zigzag; its microseconds; 32 bytes of SHA-256
 *              where bit 3 says so
 *     symlink  bytes of its target, then the target
 *
 * Type 3 with bit 3 has no name: what is ignored in the folder whose names follow. Bytes of its prefix, then that; bytes of its
 * text, then that, UTF-8.
 *
 * A directory is entered when it is told. The end is the byte `endMark` and the number of entries. What cannot be written so
 * cannot be said: no path that climbs, no absolute one, nothing in what is no directory.
 */
export const manifestVersion = 1;
export const endMark = 0b0111;

export const typeCode: Readonly<Record<NamedEntryType, number>> = {
  file: 0,
  directory: 1,
  symlink: 2,
  other: 3,
};
export const namedTypes: readonly NamedEntryType[] = ['file', 'directory', 'symlink', 'other'];

export const modeFollows = 0b0100;
export const digestFollows = 0b1000;
/** The low bits of `rules`. */
export const rulesMark = 0b1011;
export const kindBits = 0b1111;
export const upShift = 4;
export const upFollows = 15;
export const digestBytes = 32;

export const usPerSecond = 1_000_000;

/** Longest number: below 2^53. */
export const maxNumberBytes = 8;
/** Longest entry: rules, else a link. */
export const maxEntryBytes = 1 + 5 * maxNumberBytes + treeLimits.maxPathBytes + treeLimits.maxIgnoreFileBytes;

export const zigzag = (value: number): number => (value < 0 ? -2 * value - 1 : 2 * value);
export const unzigzag = (value: number): number => (value % 2 === 0 ? value / 2 : -(value + 1) / 2);
