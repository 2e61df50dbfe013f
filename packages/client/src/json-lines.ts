// biome-ignore-all lint/suspicious/noControlCharactersInRegex: finding control characters is the purpose
import type { LogSink, OutputStream } from './log-stream.ts';

// Quotes, backslash and controls, as JSON asks; then what acts on a terminal though JSON allows it: DEL, C1 controls and
// the characters that turn the direction of text around (CVE-2021-42574).
const special = /["\\\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
const unsafe = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** `JSON.stringify` whose result does nothing to a terminal: the value is the same, a few more characters are escaped. */
export function safeJson(value: unknown): string {
  return JSON.stringify(value).replace(
    unsafe,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** A string as JSON; most lines have nothing to escape and skip the general way. */
export function quoted(text: string): string {
  return special.test(text) ? safeJson(text) : `"${text}"`;
}

/** Log records as JSONL text. `prefix` is more fields for each, such as `"exec_id":"…",`. */
export class JsonLines implements LogSink {
  readonly #prefix: string;
  #text = '';

  constructor(prefix = '') {
    this.#prefix = prefix;
  }

  /** Characters that wait to be taken. */
  get length(): number {
    return this.#text.length;
  }

  take(): string {
    const text = this.#text;
    this.#text = '';
    return text;
  }

  piece(
    stream: OutputStream,
    line: string | Uint8Array,
    offset: number,
    next: number,
    partial: boolean,
    at: string,
  ): void {
    const content =
      typeof line === 'string'
        ? `"line":${quoted(line)}`
        : `"line_b64":"${Buffer.from(line).toString('base64')}"`;
    this.#text += `{"type":"log",${this.#prefix}"stream":"${stream}",${content},"ts":"${at}","offset":${offset},"next_offset":${next}${partial ? ',"partial":true}\n' : '}\n'}`;
  }

  gap(stream: OutputStream, offset: number, missing: number, at: string): void {
    this.#text += `{"type":"gap",${this.#prefix}"stream":"${stream}","missing":${missing},"ts":"${at}","offset":${offset},"next_offset":${offset + missing}}\n`;
  }
}
