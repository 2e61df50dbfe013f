import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeError,
  decodeMessage,
  decodeOpen,
  defaultWireLimits,
  encodeError,
  encodeMessage,
  encodeOpen,
  maxMessageBytes,
  RemoteError,
} from '../src/wire/index.ts';

const limits = defaultWireLimits;
const key = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 8 })
  .filter((name) => !['__proto__', 'constructor', 'prototype'].includes(name));
const values = fc.letrec((tie) => ({
  leaf: fc.oneof(
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger(),
    // msgpackr writes -0 as the integer 0.
    fc.double().map((number) => (number === 0 ? 0 : number)),
    fc.string({ unit: 'grapheme', maxLength: 100 }),
    fc.uint8Array({ maxLength: 300 }),
  ),
  value: fc.oneof(
    { depthSize: 'small' },
    tie('leaf'),
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(key, tie('value'), { maxKeys: 20, noNullPrototype: true }),
  ),
})).value;

describe('message', () => {
  test('a value comes back as it was', () => {
    fc.assert(
      fc.property(values, (value) => {
        const bytes = encodeMessage(value);
        expect(decodeMessage(bytes)).toEqual(value);
        // Out of a Buffer too, which is what sockets give.
        expect(decodeMessage(Buffer.from(bytes))).toEqual(value);
      }),
      { numRuns: 1000 },
    );
  });

  test('what decodes is built of plain objects, arrays and Uint8Array', () => {
    const value = decodeMessage(Buffer.from(encodeMessage({ a: { b: [Buffer.from('x')] } })));
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    const bytes = (value as { a: { b: unknown[] } }).a.b[0];
    expect(Object.getPrototypeOf(bytes)).toBe(Uint8Array.prototype);
  });

  test('undefined is left out of objects and is null in arrays; half a surrogate pair becomes U+FFFD', () => {
    expect(decodeMessage(encodeMessage({ a: undefined, b: 1 }))).toEqual({ b: 1 });
    expect(decodeMessage(encodeMessage([undefined]))).toEqual([null]);
    expect(decodeMessage(encodeMessage('a\ud800b'))).toBe('a\ufffdb');
    expect(decodeMessage(encodeMessage({ '\ud800': `${'x'.repeat(100)}\udc00` }))).toEqual({
      '\ufffd': `${'x'.repeat(100)}\ufffd`,
    });
  });

  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  test.each([
    ['a function', () => {}],
    ['a bigint', 1n],
    ['a Map', new Map()],
    ['a Date', { at: new Date(0) }],
    ['an Error', new Error('x')],
    ['a cycle', cyclic],
    ['a forbidden key', JSON.parse('{"__proto__":1}')],
    ['nesting over the limit', JSON.parse('['.repeat(17) + ']'.repeat(17))],
  ])('%s cannot travel: the sender is told, the session is not risked', (_title, value) => {
    expect(() => encodeMessage(value)).toThrow(expect.objectContaining({ code: 'internal' }));
  });

  test('exactly the largest message fits; one byte more is too_large', () => {
    const bytes = encodeMessage(new Uint8Array(maxMessageBytes - 3));
    expect(bytes.byteLength).toBe(maxMessageBytes);
    const over = () => encodeMessage(new Uint8Array(maxMessageBytes - 2));
    expect(over).toThrow(expect.objectContaining({ code: 'too_large' }));
    const many = () => encodeMessage(new Array(limits.maxMessageItems).fill(0));
    expect(many).toThrow(expect.objectContaining({ code: 'too_large' }));
    expect(decodeMessage(encodeMessage(new Array(limits.maxMessageItems - 1).fill(0)))).toHaveLength(16_383);
  });

  test('OPEN carries verb and params; keys of a newer peer are ignored', () => {
    expect(decodeOpen(encodeOpen('exec.get', { exec_id: 'x' }, limits), limits)).toEqual({
      verb: 'exec.get',
      params: { exec_id: 'x' },
    });
    expect(decodeOpen(encodeMessage({ verb: 'v', params: 1, later: true }), limits)).toEqual({
      verb: 'v',
      params: 1,
    });
  });

  test.each([
    ['a string', 'verb'],
    ['nil', null],
    ['an array', ['verb']],
    ['binary', new Uint8Array(3)],
    ['no verb', { params: {} }],
    ['an empty verb', { verb: '' }],
    ['a verb of 65 characters', { verb: 'v'.repeat(65) }],
    ['a number as verb', { verb: 1 }],
  ])('OPEN of %s breaks a rule', (_title, value) => {
    const decode = () => decodeOpen(encodeMessage(value), limits);
    expect(decode).toThrow(expect.objectContaining({ code: 'protocol_error' }));
  });

  test('an error keeps its code, message and details over the wire', () => {
    const error = new RemoteError('exec_not_found', 'exec_id not found: x', {
      hint: 'exec list',
      exec_id: 'x',
      sent: 'yes',
      facts: { count: 2, names: ['a', 'b'], done: false },
    });
    const back = decodeError(encodeError(error, limits), limits);
    expect(back.toWire()).toEqual(error.toWire());
  });

  test('any error fits: long text is shortened, and its code always arrives', () => {
    const text = fc.oneof(
      fc.string(),
      fc.nat(40_000).map((length) => 'é'.repeat(length)),
    );
    const facts = fc.dictionary(fc.string(), fc.oneof(text, fc.integer(), fc.array(text, { maxLength: 3 })), {
      maxKeys: 40,
    });
    fc.assert(
      fc.property(text, text, facts, (message, hint, entries) => {
        const bytes = encodeError(
          new RemoteError('bootstrap_failed', message, { hint, facts: entries }),
          limits,
        );
        expect(bytes.byteLength).toBeLessThanOrEqual(limits.maxErrorBytes);
        expect(decodeError(bytes, limits).code).toBe('bootstrap_failed');
      }),
    );
  });

  test('an error of unknown code or odd shape becomes internal and keeps only what a fact may be', () => {
    const odd = {
      code: 'of_the_future',
      message: 7,
      hint: {},
      facts: { ok: 1, nested: { a: 1 }, list: [1] },
    };
    const error = decodeError(encodeMessage(odd), limits);
    expect(error.code).toBe('internal');
    expect(error.details.facts).toEqual({ ok: 1, peer_code: 'of_the_future' });
    expect(decodeError(encodeMessage(null), limits).code).toBe('internal');
  });
});
