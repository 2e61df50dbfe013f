import { foldRewrites, withoutEscapes } from './sanitize.ts';

export const defaultTailBytes = 2000;
export const lastLineBytes = 200;

/** Raw bytes of a stream's end as they came, `from` on. */
export interface RawTail {
  readonly from: number;
  readonly bytes: Uint8Array;
}

/** The end of a stream for a reader: text without escapes and with rewritten lines folded. */
export interface TextTail {
  readonly text: string;
  /** Offset in the stream of the first byte that the text stands for. */
  readonly from: number;
  /** The text stands for the whole stream. */
  readonly whole: boolean;
}

export interface TailLimit {
  /** UTF-8 bytes of text. */
  readonly bytes: number;
  readonly lines?: number;
}

/**
 * Whole lines from the end, as many as fit. Where not even the last line fits, or where it begins before the bytes that
 * we have, its end is shown.
 */
export function textTail(raw: RawTail, limit: TailLimit): TextTail {
  const bytes = Buffer.from(raw.bytes.buffer, raw.bytes.byteOffset, raw.bytes.byteLength);
  const end = raw.from + bytes.byteLength;
  let begin = bytes.byteLength;
  let shown: string[] = [];
  let shownBytes = 0;
  for (let lines = 0; begin > 0 && lines < (limit.lines ?? Number.POSITIVE_INFINITY); lines++) {
    const start = begin === 1 ? 0 : bytes.lastIndexOf(10, begin - 2) + 1;
    if (start === 0 && raw.from > 0 && lines > 0) break;
    const line = readable(bytes.subarray(start, begin));
    const lineBytes = Buffer.byteLength(line);
    if (shownBytes + lineBytes > limit.bytes) {
      if (lines > 0) break;
      const cut = endOfLine(bytes.subarray(start, begin), limit.bytes);
      return { text: cut.text, from: raw.from + start + cut.skipped, whole: false };
    }
    shown.push(line);
    shownBytes += lineBytes;
    begin = start;
  }
  shown = shown.reverse();
  return { text: shown.join(''), from: raw.from + begin, whole: raw.from + begin === 0 || end === 0 };
}

/** The last line that has anything to show, cut to `lastLineBytes`; undefined when there is none. */
export function lastLine(raw: RawTail): string | undefined {
  const lines = readable(raw.bytes).split('\n');
  for (let i = lines.length - 1; i >= 0; i--) {
    const line = lines[i]?.trim();
    if (line) return cutText(line, lastLineBytes);
  }
  return undefined;
}

/** Lines as text; bytes that are not UTF-8 become U+FFFD. */
function readable(bytes: Uint8Array): string {
  const text = withoutEscapes(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
  return text.includes('\r') ? text.split('\n').map(foldRewrites).join('\n') : text;
}

/** The end of one line whose text is longer than `limit`. */
function endOfLine(bytes: Uint8Array, limit: number): { text: string; skipped: number } {
  let skipped = Math.max(0, bytes.byteLength - limit);
  while (skipped < bytes.byteLength && ((bytes[skipped] ?? 0) & 0xc0) === 0x80) skipped++;
  let text = readable(bytes.subarray(skipped));
  while (Buffer.byteLength(text) > limit) text = text.slice(1);
  return { text, skipped };
}

/** The beginning of `text` in at most `limit` bytes, never half a character; an ellipsis says that it was cut. */
export function cutText(text: string, limit: number): string {
  if (Buffer.byteLength(text) <= limit) return text;
  const bytes = Buffer.from(text).subarray(0, Math.max(0, limit - 3));
  let end = bytes.byteLength;
  const whole = Buffer.from(text);
  while (end > 0 && ((whole[end] ?? 0) & 0xc0) === 0x80) end--;
  return `${whole.toString('utf8', 0, end)}…`;
}
