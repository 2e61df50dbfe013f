import fc from 'fast-check';
import { Packr } from 'msgpackr/index-no-eval';
import { describe, expect, test } from 'vitest';
import { decodeMessage, defaultWireLimits, prescan, RemoteError } from '../src/wire/index.ts';
import { referenceAccepts } from './support/msgpack-reference.ts';

const limits = { ...defaultWireLimits, maxMessageDepth: 4, maxMessageItems: 40 };

function accepts(bytes: Uint8Array): boolean {
  try {
    prescan(bytes, limits);
    return true;
  } catch (error) {
    if (error instanceof RemoteError && error.code === 'protocol_error') return false;
    throw error;
  }
}

/** Bytes that look like msgpack more often than noise does. */
const likely = fc
  .array(
    fc.oneof(
      fc.integer({ min: 0, max: 255 }).map((byte) => [byte]),
      fc.constantFrom(
        [0x81, 0xa1, 0x61],
        [0x82, 0xa1, 0x61, 0x01, 0xa1, 0x62],
        [0x92],
        [0x91],
        [0x80],
        [0x90],
      ),
      fc.constantFrom(
        [0xa1, 0x61],
        [0xd9, 1, 0x62],
        [0xc4, 1, 9],
        [0xc5, 0, 1, 9],
        [0xcb, 0, 0, 0, 0, 0, 0, 0, 1],
      ),
      fc.constantFrom([0xdc, 0, 1], [0xdd, 0, 0, 0, 1], [0xde, 0, 1], [0xdf, 0, 0, 0, 1], [0xc0], [0xc3]),
      fc.constantFrom(
        [0xcf, 0, 0x1f, 255, 255, 255, 255, 255, 255],
        [0xd3, 255, 255, 255, 255, 255, 255, 255, 0],
      ),
    ),
    { minLength: 1, maxLength: 12 },
  )
  .map((parts) => Uint8Array.from(parts.flat()));

const values = fc.letrec((tie) => ({
  leaf: fc.oneof(
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger(),
    fc.double(),
    fc.string({ unit: 'grapheme', maxLength: 6 }),
    fc.uint8Array({ maxLength: 6 }),
  ),
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    tie('leaf'),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.string({ minLength: 1, maxLength: 4 }), tie('value'), { maxKeys: 4 }),
  ),
})).value;

describe('pre-scan', () => {
  test('judges any bytes as an obvious reading of the format does [row 74]', () => {
    let accepted = 0;
    fc.assert(
      fc.property(likely, (bytes) => {
        const verdict = accepts(bytes);
        if (verdict) accepted++;
        expect(verdict).toBe(referenceAccepts(bytes, limits));
      }),
      { numRuns: 20_000 },
    );
    expect(accepted).toBeGreaterThan(500);
  });

  test('judges what a packer wrote, and every cut of it, as the reference does', () => {
    const packr = new Packr({
      useRecords: false,
      moreTypes: false,
      structuredClone: false,
      mapsAsObjects: true,
      int64AsType: 'number',
      copyBuffers: false,
      variableMapSize: true,
    });
    fc.assert(
      fc.property(values, fc.nat(), (value, cut) => {
        const bytes = new Uint8Array(packr.pack(value));
        expect(accepts(bytes)).toBe(referenceAccepts(bytes, limits));
        const part = bytes.subarray(0, cut % bytes.byteLength);
        expect(accepts(part)).toBe(false);
      }),
      { numRuns: 2000 },
    );
  });

  const big = (type: number, count: number): Uint8Array => {
    const bytes = new Uint8Array(5);
    new DataView(bytes.buffer).setUint8(0, type);
    new DataView(bytes.buffer).setUint32(1, count);
    return bytes;
  };
  const text = (words: string): Uint8Array => new TextEncoder().encode(words);

  test.each([
    ['array32 of 30 million in 5 bytes', big(0xdd, 30_000_000)],
    ['map32 of 4 billion in 5 bytes', big(0xdf, 0xffff_ffff)],
    ['str32 of 2 GB in 5 bytes', big(0xdb, 0x7fff_ffff)],
    ['bin32 of 4 GB in 5 bytes', big(0xc6, 0xffff_ffff)],
    ['a million arrays in each other', new Uint8Array(1_000_001).fill(0x91)],
    ['fixext 1 (undefined of msgpackr)', Uint8Array.of(0xd4, 0, 0)],
    ['ext 8', Uint8Array.of(0xc7, 1, 0x78, 1)],
    ['the type that is never used', Uint8Array.of(0xc1)],
    ['a map keyed by a number', Uint8Array.of(0x81, 1, 1)],
    ['a key twice', Uint8Array.of(0x82, 0xa1, 0x61, 1, 0xd9, 1, 0x61, 2)],
    ['__proto__ as a key', Uint8Array.of(0x81, 0xa9, ...text('__proto__'), 1)],
    ['constructor as a key', Uint8Array.of(0x81, 0xab, ...text('constructor'), 1)],
    ['prototype as a key, in str 8', Uint8Array.of(0x81, 0xd9, 9, ...text('prototype'), 1)],
    ['a string that is not UTF-8', Uint8Array.of(0xa2, 0xc3, 0x28)],
    ['2^53', Uint8Array.of(0xcf, 0, 0x20, 0, 0, 0, 0, 0, 0)],
    ['-2^53', Uint8Array.of(0xd3, 0xff, 0xe0, 0, 0, 0, 0, 0, 0)],
    ['two values', Uint8Array.of(1, 2)],
    ['nothing', new Uint8Array(0)],
  ])('refuses %s without allocating it [row 70] [row 71]', (_title, bytes) => {
    const before = process.memoryUsage();
    expect(() => decodeMessage(bytes)).toThrow(RemoteError);
    const after = process.memoryUsage();
    expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(
      8 * 1024 * 1024,
    );
  });

  const packr = new Packr({
    moreTypes: true,
    structuredClone: true,
    useRecords: true,
    mapsAsObjects: false,
    int64AsType: 'number',
    copyBuffers: false,
    variableMapSize: true,
  });
  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  test.each<[string, unknown]>([
    ['a record', { a: 1, b: 2 }],
    ['a Set', new Set([1])],
    ['a RegExp', /x/g],
    ['an Error', new Error('x')],
    ['a Date', new Date(0)],
    ['a BigInt of 200 digits', 10n ** 200n],
    ['a typed array', new Float64Array(3)],
    ['a pointer to itself', cyclic],
    ['a Map', new Map([['a', new Map()]])],
    ['undefined', [undefined]],
  ])('%s, as msgpackr writes it with everything on, is no message [row 72]', (what, value) => {
    const bytes = new Uint8Array(packr.pack(value));
    // A Map is a plain map of msgpack, and read as an object.
    if (what === 'a Map') expect(decodeMessage(bytes)).toEqual({ a: {} });
    else expect(() => decodeMessage(bytes)).toThrow(expect.objectContaining({ code: 'protocol_error' }));
  });

  test('the largest and smallest exact integers pass', () => {
    expect(decodeMessage(Uint8Array.of(0xcf, 0, 0x1f, 255, 255, 255, 255, 255, 255))).toBe(
      Number.MAX_SAFE_INTEGER,
    );
    expect(decodeMessage(Uint8Array.of(0xd3, 0xff, 0xe0, 0, 0, 0, 0, 0, 1))).toBe(Number.MIN_SAFE_INTEGER);
  });
});
