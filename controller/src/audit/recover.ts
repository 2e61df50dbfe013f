import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, readSync, writeFileSync } from 'node:fs';
import { type Head, hashOf, parseLine } from './chain.ts';
import { type Segment, splitLines } from './segments.ts';

/** More than a line can have. */
const tailBytes = 256 * 1024;

/** The end of the log as a crash left it, made fit to be written after. */
export interface Recovered {
  /** The last whole line; undefined where there is none. */
  readonly head: Head | undefined;
  /** What was cut off behind it. */
  readonly torn?: { readonly file: string; readonly bytes: number; readonly sha256: string };
}

/**
 * Cuts what is behind the last whole line, which a crash can leave: part of a line, or lines whose blocks never reached the
 * disk. What is cut is kept beside the file as `.torn` where there is room. `durable` was on disk once: whole lines that stand
 * where it was are not cut, whatever they look like now; the verifier tells of them.
 */
export function recoverEnd(segments: readonly Segment[], durable: Head | undefined): Recovered {
  let torn: Recovered['torn'];
  for (const segment of [...segments].reverse()) {
    const fd = openSync(segment.path, 'r+');
    try {
      const { size } = fstatSync(fd);
      const from = Math.max(0, size - tailBytes);
      const bytes = Buffer.alloc(size - from);
      readSync(fd, bytes, 0, bytes.byteLength, from);
      const end = endOf(bytes, durable);
      const cut = bytes.subarray(end.bytes);
      if (cut.byteLength > 0) {
        torn = { file: segment.name, bytes: cut.byteLength, sha256: hashOf(cut) };
        keepTorn(segment, cut);
        ftruncateSync(fd, from + end.bytes);
        fsyncSync(fd);
      }
      if (end.head) return { head: end.head, ...(torn && { torn }) };
    } finally {
      closeSync(fd);
    }
  }
  return { head: undefined, ...(torn && { torn }) };
}

/** The last line that counts, and how many of the bytes are up to its end. */
function endOf(tail: Buffer, durable: Head | undefined): { head?: Head; bytes: number } {
  const { lines, rest } = splitLines(tail);
  const whole = tail.byteLength - rest.byteLength;
  let bytes = whole;
  for (const line of [...lines].reverse()) {
    const read = parseLine(line);
    if (read && (durable === undefined || read.seq >= durable.seq || bytes === whole))
      return { head: { seq: read.seq, hash: hashOf(line) }, bytes };
    if (read) break;
    bytes -= line.byteLength + 1;
  }
  const last = lines.at(-1);
  if (!last || !durable) return { bytes: 0 };
  return { head: { seq: durable.seq, hash: hashOf(last) }, bytes: whole };
}

function keepTorn({ path }: Segment, bytes: Uint8Array): void {
  try {
    writeFileSync(`${path}.torn`, bytes, { mode: 0o600 });
  } catch {
    // A full disk: its length and hash are in the entry that tells of it.
  }
}
