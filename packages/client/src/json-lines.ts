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

/** A string as JSON, without the quotes; most lines have nothing to escape and skip the general way. */
function escaped(text: string): string {
  return special.test(text) ? safeJson(text).slice(1, -1) : text;
}

/** Log records as JSONL text. `prefix` is more fields for each, such as `"exec_id":"…",`. */
export class JsonLines implements LogSink {
  readonly #begin: { readonly stdout: string; readonly stderr: string };
  readonly #prefix: string;
  #text = '';
  /** The text between line and offset, for the time that it is for: thousands of lines share one. */
  #middle = { at: '', text: '' };
  /** The last offset written and its digits: the next line begins there. */
  #place = { offset: -1, text: '' };

  constructor(prefix = '') {
    this.#prefix = prefix;
    const begin = (stream: OutputStream) => `{"type":"log",${prefix}"stream":"${stream}","line`;
    this.#begin = { stdout: begin('stdout'), stderr: begin('stderr') };
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
    const place = this.#place;
    const from = place.offset === offset ? place.text : `${offset}`;
    place.offset = next;
    place.text = `${next}`;
    if (this.#middle.at !== at) this.#middle = { at, text: `","ts":"${at}","offset":` };
    const content =
      typeof line === 'string' ? `":"${escaped(line)}` : `_b64":"${Buffer.from(line).toString('base64')}`;
    const end = partial ? ',"partial":true}\n' : '}\n';
    this.#text += `${this.#begin[stream]}${content}${this.#middle.text}${from},"next_offset":${place.text}${end}`;
  }

  gap(stream: OutputStream, offset: number, missing: number, at: string): void {
    this.#text += `{"type":"gap",${this.#prefix}"stream":"${stream}","missing":${missing},"ts":"${at}","offset":${offset},"next_offset":${offset + missing}}\n`;
  }
}
