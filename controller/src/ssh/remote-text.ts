/** Bytes of a machine's words that we keep in an error. */
export const keptTextBytes = 2_000;

// ECMA-48 control sequences and strings, then every other control character but tab and newline.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
const escapes = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
const controls = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** The end of what a machine said, safe to show: no escapes, no controls, at most `keptTextBytes` of UTF-8, whole lines. */
export function sanitise(text: string): string {
  const plain = text.replace(escapes, '').replace(/\r\n?/g, '\n').replace(controls, '').trim();
  const bytes = Buffer.from(plain);
  if (bytes.length <= keptTextBytes) return plain;
  const tail = bytes.subarray(bytes.length - keptTextBytes).toString('utf8');
  // The cut may have hit a character or a line.
  return tail.slice(tail.indexOf('\n') + 1).replace(/^\ufffd+/, '');
}

/** The last bytes of a stream whose length nobody limits. */
export class TextTail {
  readonly #max: number;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(max = 16 * 1024) {
    this.#max = max;
  }

  add(chunk: Uint8Array): void {
    const all = Buffer.concat([this.#bytes, chunk]);
    this.#bytes = all.length > this.#max ? all.subarray(all.length - this.#max) : all;
  }

  text(): string {
    return this.#bytes.toString('utf8');
  }
}
