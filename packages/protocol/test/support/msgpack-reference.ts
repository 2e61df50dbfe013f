import type { WireLimits } from '../../src/wire/index.ts';

/**
 * Whether the bytes are one msgpack value within the limits, by reading the format from top to bottom with recursion: slow,
 * unsafe for hostile input, and easy to check against the specification.
 */
export function referenceAccepts(bytes: Uint8Array, limits: WireLimits): boolean {
  let items = 0;
  let at = 0;

  class Refused extends Error {}
  const take = (count: number): Uint8Array => {
    if (at + count > bytes.length) throw new Refused();
    at += count;
    return bytes.subarray(at - count, at);
  };
  const uint = (size: number): bigint => take(size).reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  const length = (size: number): number => Number(uint(size));
  const text = (count: number): string => {
    const raw = take(count);
    const word = new TextDecoder('utf-8', { ignoreBOM: true }).decode(raw);
    if (Buffer.compare(Buffer.from(word), Buffer.from(raw)) !== 0) throw new Refused();
    return word;
  };
  const exact = (value: bigint): void => {
    if (value >= 2n ** 53n || value <= -(2n ** 53n)) throw new Refused();
  };

  const value = (depth: number, asKey: boolean): unknown => {
    items++;
    const type = take(1)[0] ?? 0;
    if (asKey && !((type >= 0xa0 && type <= 0xbf) || (type >= 0xd9 && type <= 0xdb))) throw new Refused();
    const array = (count: number): undefined => {
      if (depth + 1 > limits.maxMessageDepth || count > bytes.length) throw new Refused();
      for (let index = 0; index < count; index++) value(depth + 1, false);
      return undefined;
    };
    const map = (count: number): undefined => {
      if (depth + 1 > limits.maxMessageDepth || count > bytes.length) throw new Refused();
      const keys: unknown[] = [];
      for (let index = 0; index < count; index++) {
        const key = value(depth + 1, true);
        if (keys.includes(key) || ['__proto__', 'constructor', 'prototype'].includes(String(key)))
          throw new Refused();
        keys.push(key);
        value(depth + 1, false);
      }
      return undefined;
    };
    if (type <= 0x7f || type >= 0xe0) return type;
    if (type <= 0x8f) return map(type - 0x80);
    if (type <= 0x9f) return array(type - 0x90);
    if (type <= 0xbf) return text(type - 0xa0);
    if (type === 0xc0 || type === 0xc2 || type === 0xc3) return type;
    if (type === 0xc4) return take(length(1));
    if (type === 0xc5) return take(length(2));
    if (type === 0xc6) return take(length(4));
    if (type === 0xca || type === 0xce || type === 0xd2) return take(4);
    if (type === 0xcb) return take(8);
    if (type === 0xcc || type === 0xd0) return take(1);
    if (type === 0xcd || type === 0xd1) return take(2);
    if (type === 0xcf) return exact(uint(8));
    if (type === 0xd3) return exact(BigInt.asIntN(64, uint(8)));
    if (type === 0xd9) return text(length(1));
    if (type === 0xda) return text(length(2));
    if (type === 0xdb) return text(length(4));
    if (type === 0xdc) return array(length(2));
    if (type === 0xdd) return array(length(4));
    if (type === 0xde) return map(length(2));
    if (type === 0xdf) return map(length(4));
    throw new Refused();
  };

  try {
    value(0, false);
    return at === bytes.length && items <= limits.maxMessageItems;
  } catch (error) {
    if (error instanceof Refused) return false;
    throw error;
  }
}
