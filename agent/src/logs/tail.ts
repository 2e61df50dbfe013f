import { closeSync, fstatSync, read, readSync } from 'node:fs';
import type { StreamTail } from '@codex-remote/protocol/schema';
import { openLog } from './log-file.ts';

/**
 * The last `bytes` of a log, none of them before `floor`; undefined when it cannot be read, or is not the file that was
 * made for the exec (`inode`, where it is known).
 */
export function readTail(path: string, bytes: number, floor = 0, inode?: number): StreamTail | undefined {
  let fd: number;
  try {
    fd = openLog(path, inode);
  } catch {
    return undefined;
  }
  try {
    const { size } = fstatSync(fd);
    const from = Math.max(0, Math.min(size, Math.max(floor, size - bytes)));
    const buffer = new Uint8Array(size - from);
    return { from, bytes: buffer.subarray(0, readSync(fd, buffer, 0, buffer.byteLength, from)) };
  } finally {
    closeSync(fd);
  }
}

/**
 * The beginning of a line is looked for in so many bytes before a place, and no further: a log without newlines is
 * answered from within its line, in the time that this much reading takes (about 50 ms), whatever its size.
 */
export const maxLineScanBytes = 64 * 1024 * 1024;

/** What a tail of many lines may read beyond that, for each line asked for. */
export const tailScanBytesPerLine = 4 * 1024;

const firstBlockBytes = 64 * 1024;
const blockBytes = 256 * 1024;
const newline = 0x0a;

/**
 * Where the last `lines` lines before `end` begin; an unfinished last line counts as one. Nothing before `floor` is read.
 * Reads backwards in blocks, so memory does not depend on the file; where the lines are so long that the limits above are
 * met, the answer is a place within one.
 */
export async function tailLinesStart(fd: number, lines: number, end: number, floor = 0): Promise<number> {
  if (lines === 0) return end;
  let left = lines;
  const limit = maxLineScanBytes + lines * tailScanBytesPerLine;
  return backwards(fd, end, Math.max(floor, end - limit), (block, start) => {
    // The newline that ends the last line does not begin another.
    let at = start + block.byteLength === end ? block.byteLength - 2 : block.byteLength - 1;
    for (; at >= 0; at--) {
      at = block.lastIndexOf(newline, at);
      if (at < 0) break;
      left--;
      if (left === 0) return start + at + 1;
    }
    return undefined;
  });
}

/** The start of the line that the byte at `offset` is in; `offset` itself when a line begins there. Limited as above. */
export function lineStart(fd: number, offset: number, floor = 0): Promise<number> {
  return backwards(fd, offset, Math.max(floor, offset - maxLineScanBytes), (block, start) => {
    const at = block.lastIndexOf(newline);
    return at >= 0 ? start + at + 1 : undefined;
  });
}

/** Shows blocks from `end` down to `first` until one has the answer; else it is `first`, or `end` where that is earlier. */
async function backwards(
  fd: number,
  end: number,
  first: number,
  find: (block: Buffer, start: number) => number | undefined,
): Promise<number> {
  let buffer = Buffer.allocUnsafe(firstBlockBytes);
  for (let blockEnd = end; blockEnd > first; ) {
    const start = Math.max(first, blockEnd - buffer.byteLength);
    const have =
      blockEnd === end
        ? readSync(fd, buffer, 0, blockEnd - start, start)
        : await readBlock(fd, buffer, blockEnd - start, start);
    const found = find(buffer.subarray(0, have), start);
    if (found !== undefined) return found;
    // Most answers are in the first block; a search that goes on leaves the main thread.
    if (blockEnd === end) buffer = Buffer.allocUnsafe(blockBytes);
    blockEnd = start;
  }
  return Math.min(first, end);
}

function readBlock(fd: number, buffer: Buffer, length: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, buffer, 0, length, position, (error, bytes) => (error ? reject(error) : resolve(bytes)));
  });
}
