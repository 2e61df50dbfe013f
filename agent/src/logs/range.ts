import { fstatSync } from 'node:fs';
import { lineStart, tailLinesStart } from './tail.ts';
import { offsetAtTime } from './time-samples.ts';

/** Which part of one stream. Times first, then the tail within them. */
export interface StreamSelection {
  readonly from?: number;
  readonly tailLines?: number;
  readonly tailBytes?: number;
  readonly sinceMs?: number;
  readonly untilMs?: number;
  /** What is written from now on belongs to it as well. */
  readonly grows?: boolean;
}

export interface LogRange {
  readonly from: number;
  /** Not beyond this; infinite where there is no limit. */
  readonly end: number;
}

/** The log that is asked for a part of itself. */
export interface RangedLog {
  readonly fd: number;
  /** The exec's folder. */
  readonly folder: string;
  readonly stream: number;
  /** Everything before it is gone. */
  readonly floor: number;
}

/**
 * The bytes that `select` means. Takes about as long for a huge log as for a small one. `from` lies before the floor where
 * what is wanted begins, or may begin, in what is gone: a reader is told of that.
 */
export async function rangeOf(log: RangedLog, select: StreamSelection): Promise<LogRange> {
  const { fd, folder, stream, floor } = log;
  const { size, mtimeMs } = fstatSync(fd);
  const { sinceMs, untilMs, tailLines, tailBytes } = select;
  // A line is dated by its end: it belongs to the window when its end does.
  const placeOf = async (epochMs: number): Promise<number> => {
    const offset = offsetAtTime(folder, stream, epochMs);
    return offset < floor ? offset : lineStart(fd, offset, floor);
  };
  const open = select.grows ? Number.POSITIVE_INFINITY : size;
  const end = untilMs !== undefined && untilMs <= mtimeMs ? await placeOf(untilMs) : open;
  const first = sinceMs === undefined ? 0 : sinceMs > mtimeMs ? size : await placeOf(sinceMs);
  const last = Math.min(size, end);
  let from = select.from ?? 0;
  if (tailLines !== undefined) {
    const start = last <= floor ? floor : await tailLinesStart(fd, tailLines, last, floor);
    // Lines that are gone may have been among the last.
    from = start <= floor && tailLines > 0 ? Math.min(first, floor) : start;
  }
  if (tailBytes !== undefined) from = Math.max(0, last - tailBytes);
  return { from: Math.max(from, first), end };
}
