import { broken } from './decode.ts';
import type { WireLimits } from './limits.ts';

/**
 * Walks one msgpack value (https://github.com/msgpack/msgpack/blob/master/spec.md) without building it, so that the
 * decoder behind it only ever sees what is small and plain. Decoders allocate what a length claims: 5 bytes can cost
 * 240 MB. Throws `protocol_error` unless the buffer is exactly one value in which
 *   - nesting is at most `maxMessageDepth`, values (keys included) at most `maxMessageItems`, and every length fits the bytes left;
 *   - there are no extension types and no 0xc1; integers are within 2^53 - 1 on both sides of zero;
 *   - strings are UTF-8; map keys are strings, each once in its map, and never one that reaches an object's prototype.
 */
export function prescan(bytes: Uint8Array, limits: WireLimits): void {
  new Scan(bytes, limits).run();
}

/** Keys that could reach a prototype through an assignment somewhere behind the decoder. */
export const forbiddenKeys: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Types whose payload has one size and no rule of its own: nil, booleans, floats, integers up to 32 bits. */
const fixedBytes: ReadonlyMap<number, number> = new Map([
  [0xc0, 0],
  [0xc2, 0],
  [0xc3, 0],
  [0xca, 4],
  [0xcb, 8],
  [0xcc, 1],
  [0xcd, 2],
  [0xce, 4],
  [0xd0, 1],
  [0xd1, 2],
  [0xd2, 4],
]);

/** A container that is being walked: values still to come, keys counted; `keys` only for maps. */
interface Open {
  left: number;
  keys: Set<string> | undefined;
}

class Scan {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #limits: WireLimits;
  readonly #stack: Open[] = [];
  #at = 0;
  #items = 0;

  constructor(bytes: Uint8Array, limits: WireLimits) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#limits = limits;
  }

  run(): void {
    this.#value();
    for (let top = this.#stack.at(-1); top; top = this.#stack.at(-1)) {
      if (top.left === 0) this.#stack.pop();
      else this.#next(top);
    }
    if (this.#at !== this.#bytes.byteLength) {
      throw broken('message_bytes', this.#bytes.byteLength - this.#at, 'bytes follow the value');
    }
  }

  #next(top: Open): void {
    // In a map the count of values left is even before a key.
    if (top.keys && top.left % 2 === 0) this.#key(top.keys);
    else this.#value();
    top.left--;
  }

  #key(seen: Set<string>): void {
    const type = this.#u8();
    let length: number;
    if (type >= 0xa0 && type <= 0xbf) length = type & 0x1f;
    else if (type >= 0xd9 && type <= 0xdb) length = this.#length(type - 0xd9);
    else throw broken('message_type', type, 'a map key is a string');
    this.#count();
    const key = this.#text(length);
    if (forbiddenKeys.has(key)) throw broken('message_key', key, 'a map has a forbidden key');
    if (seen.has(key)) throw broken('message_key', key.slice(0, 64), 'a map has a key twice');
    seen.add(key);
  }

  #value(): void {
    this.#count();
    const type = this.#u8();
    if (type <= 0x7f || type >= 0xe0) return; // a small integer
    if (type <= 0x8f) this.#open((type & 0x0f) * 2, true);
    else if (type <= 0x9f) this.#open(type & 0x0f, false);
    else if (type <= 0xbf) this.#utf8(type & 0x1f);
    else this.#typed(type);
  }

  #typed(type: number): void {
    const fixed = fixedBytes.get(type);
    if (fixed !== undefined) {
      this.#need(fixed);
      return;
    }
    switch (type) {
      case 0xc4: // bin 8
      case 0xc5: // bin 16
      case 0xc6: // bin 32
        this.#need(this.#length(type - 0xc4));
        break;
      case 0xcf: // uint 64
        this.#integer(this.#view.getBigUint64(this.#need(8)));
        break;
      case 0xd3: // int 64
        this.#integer(this.#view.getBigInt64(this.#need(8)));
        break;
      case 0xd9: // str 8
      case 0xda: // str 16
      case 0xdb: // str 32
        this.#utf8(this.#length(type - 0xd9));
        break;
      case 0xdc: // array 16
      case 0xdd: // array 32
        this.#open(this.#length(type - 0xdb), false);
        break;
      case 0xde: // map 16
      case 0xdf: // map 32
        this.#open(this.#length(type - 0xdd) * 2, true);
        break;
      default:
        throw broken('message_type', type, 'extension types are not part of the protocol');
    }
  }

  #open(values: number, isMap: boolean): void {
    // Every value has at least one byte.
    const left = this.#bytes.byteLength - this.#at;
    if (values > left)
      throw broken('message_count', values, `a container claims more values than the ${left} bytes left`);
    if (this.#stack.length >= this.#limits.maxMessageDepth) {
      throw broken(
        'message_depth',
        this.#stack.length + 1,
        `nesting is over ${this.#limits.maxMessageDepth}`,
      );
    }
    this.#stack.push({ left: values, keys: isMap ? new Set() : undefined });
  }

  #count(): void {
    if (++this.#items > this.#limits.maxMessageItems) {
      throw broken(
        'message_items',
        this.#items,
        `a message has more than ${this.#limits.maxMessageItems} values`,
      );
    }
  }

  #integer(value: bigint): void {
    if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER)) {
      throw broken('message_integer', String(value), 'an integer is beyond 2^53 - 1');
    }
  }

  #utf8(length: number): void {
    const start = this.#need(length);
    for (let at = start; at < this.#at; at++) {
      if ((this.#bytes[at] ?? 0) >= 0x80) {
        this.#decode(start);
        return;
      }
    }
  }

  #text(length: number): string {
    return this.#decode(this.#need(length));
  }

  #decode(start: number): string {
    try {
      return strictUtf8.decode(this.#bytes.subarray(start, this.#at));
    } catch {
      throw broken('message_at', start, 'a string is not UTF-8');
    }
  }

  /** Moves past `length` bytes and gives where they began. */
  #need(length: number): number {
    const left = this.#bytes.byteLength - this.#at;
    if (length > left)
      throw broken('message_length', length, `a value claims more than the ${left} bytes left`);
    const start = this.#at;
    this.#at += length;
    return start;
  }

  #u8(): number {
    return this.#view.getUint8(this.#need(1));
  }

  /** A length of 1, 2 or 4 bytes: `size` is 0, 1 or 2. */
  #length(size: number): number {
    if (size === 0) return this.#u8();
    return size === 1 ? this.#view.getUint16(this.#need(2)) : this.#view.getUint32(this.#need(4));
  }
}
