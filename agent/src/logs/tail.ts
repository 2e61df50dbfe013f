import { closeSync, fstatSync, readSync } from 'node:fs';
import type { StreamTail } from '@codex-remote/protocol/schema';
import { openLog } from './log-file.ts';

/** The last `bytes` of a file; undefined when it cannot be read. */
export function readTail(path: string, bytes: number): StreamTail | undefined {
  let fd: number;
  try {
    fd = openLog(path);
  } catch {
    return undefined;
  }
  try {
    const { size } = fstatSync(fd);
    const from = Math.max(0, size - bytes);
    const buffer = new Uint8Array(size - from);
    return { from, bytes: buffer.subarray(0, readSync(fd, buffer, 0, buffer.byteLength, from)) };
  } finally {
    closeSync(fd);
  }
}

const blockBytes = 64 * 1024;
const newline = 0x0a;

/**
 * Where the last `lines` lines before `end` begin; an unfinished last line counts as one. Reads backwards in blocks, so
 * memory does not depend on the file.
 */
export function tailLinesStart(fd: number, lines: number, end: number): number {
  if (lines === 0) return end;
  const block = Buffer.allocUnsafe(blockBytes);
  let left = lines;
  for (let blockEnd = end; blockEnd > 0; ) {
    const start = Math.max(0, blockEnd - blockBytes);
    const read = readSync(fd, block, 0, blockEnd - start, start);
    // The newline that ends the last line does not begin another.
    let at = start + read === end ? read - 2 : read - 1;
    for (; at >= 0; at--) {
      at = block.lastIndexOf(newline, at);
      if (at < 0) break;
      left--;
      if (left === 0) return start + at + 1;
    }
    blockEnd = start;
  }
  return 0;
}

/** The start of the line that the byte at `offset` is in; `offset` itself when a line begins there. */
export function lineStart(fd: number, offset: number): number {
  const block = Buffer.allocUnsafe(blockBytes);
  for (let blockEnd = offset; blockEnd > 0; ) {
    const start = Math.max(0, blockEnd - blockBytes);
    const read = readSync(fd, block, 0, blockEnd - start, start);
    const at = block.subarray(0, read).lastIndexOf(newline);
    if (at >= 0) return start + at + 1;
    blockEnd = start;
  }
  return 0;
}
