import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** One file of the log. Files are numbered in the order in which they were begun. */
export interface Segment {
  readonly number: number;
  readonly name: string;
  readonly path: string;
}

export function segmentOf(dir: string, number: number): Segment {
  const name = `${String(number).padStart(8, '0')}.jsonl`;
  return { number, name, path: join(dir, name) };
}

/** Those that are there, in order; nothing else in the folder is looked at. */
export function listSegments(dir: string): Segment[] {
  return readdirSync(dir)
    .filter((name) => /^\d{8}\.jsonl$/.test(name))
    .map((name) => segmentOf(dir, Number(name.slice(0, 8))))
    .sort((a, b) => a.number - b.number);
}

/** The lines in `bytes` without their newlines, and what follows the last newline. */
export function splitLines(bytes: Uint8Array): { lines: Uint8Array[]; rest: Uint8Array } {
  const lines: Uint8Array[] = [];
  let from = 0;
  for (let at = bytes.indexOf(0x0a); at >= 0; at = bytes.indexOf(0x0a, from)) {
    lines.push(bytes.subarray(from, at));
    from = at + 1;
  }
  return { lines, rest: bytes.subarray(from) };
}
