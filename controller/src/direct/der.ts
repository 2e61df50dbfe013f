/**
 * As much of DER (X.690) as a certificate needs: each function returns one whole element, tag and length included.
 */

export function sequence(...elements: readonly Uint8Array[]): Uint8Array {
  return element(0x30, ...elements);
}

export function set(...elements: readonly Uint8Array[]): Uint8Array {
  return element(0x31, ...elements);
}

/** `[number]`, constructed: an EXPLICIT tag around `inner`. */
export function explicit(number: number, inner: Uint8Array): Uint8Array {
  return element(0xa0 | number, inner);
}

/** `[number]`, primitive: an IMPLICIT tag in place of the element's own. */
export function implicit(number: number, bytes: Uint8Array): Uint8Array {
  return element(0x80 | number, bytes);
}

/** A positive integer, big-endian, in the fewest bytes that do not read as negative. */
export function integer(bytes: Uint8Array): Uint8Array {
  let first = 0;
  while (first < bytes.length - 1 && bytes[first] === 0) first += 1;
  const shortest = bytes.subarray(first);
  const sign = (shortest[0] ?? 0) >= 0x80 ? [0] : [];
  return element(0x02, Uint8Array.from(sign), shortest);
}

export function boolean(value: boolean): Uint8Array {
  return element(0x01, Uint8Array.of(value ? 0xff : 0));
}

/** Whole bytes of bits. */
export function bitString(bytes: Uint8Array): Uint8Array {
  return element(0x03, Uint8Array.of(0), bytes);
}

export function octetString(...elements: readonly Uint8Array[]): Uint8Array {
  return element(0x04, ...elements);
}

export function utf8String(text: string): Uint8Array {
  return element(0x0c, new TextEncoder().encode(text));
}

/** `1.2.840.…`, section 8.19. */
export function objectId(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return element(0x06, Uint8Array.from([first * 40 + second, ...rest].flatMap(base128)));
}

/** A time to the second: UTCTime until 2049, GeneralizedTime from then on (RFC 5280 section 4.1.2.5). */
export function time(ms: number): Uint8Array {
  const digits = new Date(ms)
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replace(/[-:T]/g, '');
  const short = new Date(ms).getUTCFullYear() < 2050;
  return element(short ? 0x17 : 0x18, new TextEncoder().encode(short ? digits.slice(2) : digits));
}

function element(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const length = contents.reduce((sum, part) => sum + part.byteLength, 0);
  return Buffer.concat([Uint8Array.from([tag, ...lengthOf(length)]), ...contents]);
}

function lengthOf(length: number): number[] {
  if (length < 0x80) return [length];
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return [0x80 | bytes.length, ...bytes];
}

function base128(value: number): number[] {
  const groups = [value % 128];
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128))
    groups.unshift((rest % 128) | 0x80);
  return groups;
}
