// biome-ignore-all lint/suspicious/noControlCharactersInRegex: they are what must be gone
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { cutText, lastLine, textTail, withoutEscapes } from '../src/index.ts';

const raw = (text: string, from = 0) => ({ from, bytes: Buffer.from(text) });
const limit = { bytes: 20 };

test('everything fits: whole from the beginning', () => {
  expect(textTail(raw('one\ntwo\n'), limit)).toEqual({ text: 'one\ntwo\n', from: 0, whole: true });
  expect(textTail(raw(''), limit)).toEqual({ text: '', from: 0, whole: true });
});

test('whole lines from the end, with the place where they begin', () => {
  expect(textTail(raw('first line\nsecond line\nlast\n', 100), limit)).toEqual({
    text: 'second line\nlast\n',
    from: 111,
    whole: false,
  });
});

test('a line that begins before the bytes at hand is not shown as one', () => {
  expect(textTail(raw('rest of a line\nlast\n', 5), limit)).toEqual({
    text: 'last\n',
    from: 20,
    whole: false,
  });
});

test('a last line that is too long is shown by its end', () => {
  expect(textTail(raw('x'.repeat(50)), limit)).toEqual({ text: 'x'.repeat(20), from: 30, whole: false });
  expect(textTail(raw('é'.repeat(30)), { bytes: 21 }).text).toBe('é'.repeat(10));
});

test('lines are counted where lines are wanted, none for 0', () => {
  expect(textTail(raw('1\n2\n3\n'), { bytes: 1000, lines: 2 })).toEqual({
    text: '2\n3\n',
    from: 2,
    whole: false,
  });
  expect(textTail(raw('1\n2\n3\n'), { bytes: 1000, lines: 0 })).toEqual({ text: '', from: 6, whole: false });
});

test('escapes are removed and rewritten lines folded, the place stays that of the bytes', () => {
  expect(textTail(raw('\u001b[31mred\u001b[0m\n 10%\r 50%\r100%\r\nend'), { bytes: 100 })).toEqual({
    text: 'red\n100%\nend',
    from: 0,
    whole: true,
  });
  expect(lastLine(raw('a\n 10%\r 99%\n\n'))).toBe('99%');
  expect(lastLine(raw('\n \n'))).toBeUndefined();
});

test('no tail is longer than its limit, and what it says about its place is true', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', maxLength: 300 }),
      fc.integer({ min: 4, max: 60 }),
      fc.nat({ max: 5 }),
      (text, bytes, from) => {
        const tail = textTail(raw(text, from), { bytes });
        expect(Buffer.byteLength(tail.text)).toBeLessThanOrEqual(bytes);
        expect(tail.from).toBeGreaterThanOrEqual(from);
        expect(tail.from).toBeLessThanOrEqual(from + Buffer.byteLength(text));
        if (tail.whole) expect(tail.from).toBe(0);
      },
    ),
  );
});

test('cut text is whole characters within the limit', () => {
  expect(cutText('abc', 3)).toBe('abc');
  expect(cutText('😀😀😀', 8)).toBe('😀…');
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary' }),
      fc.integer({ min: 4, max: 50 }),
      (text, bytes) => Buffer.byteLength(cutText(text, bytes)) <= bytes,
    ),
  );
});

test.each([
  ['colour', '\u001b[1;31mX\u001b[m', 'X'],
  ['title by OSC with BEL', '\u001b]0;owned\u0007X', 'X'],
  ['clipboard by OSC 52 with ST', '\u001b]52;c;ZXZpbA==\u001b\\X', 'X'],
  ['link by OSC 8', '\u001b]8;;http://evil\u001b\\X\u001b]8;;\u001b\\', 'X'],
  ['DCS', '\u001bP1$r0m\u001b\\X', 'X'],
  ['APC and PM', '\u001b_a\u001b\\\u001b^b\u001b\\X', 'X'],
  ['8-bit CSI and OSC', '\u009b31mX\u009d0;t\u009c', 'X'],
  ['string without an end', '\u001b]0;title\nX', '\nX'],
  ['cut sequence', 'X\u001b[', 'X'],
  ['lone escape', 'X\u001b', 'X'],
  ['two-byte escape', '\u001bcX\u001b(B', 'X'],
  ['escape made by removing one', '\u001b\u001b[m[31mX', '[31mX'],
  ['direction override', 'a\u202eX\u202c\u2066b\u2069', 'aXb'],
  ['backspace, bell, NUL, DEL', 'a\b\u0007\0\u007fX', 'aX'],
])('nothing is left of a %s', (_name, text, left) => {
  expect(withoutEscapes(text)).toBe(left);
});

test('sanitised text has no control that acts on a terminal [row 97]', () => {
  const nasty = fc.array(
    fc.constantFrom(
      '\u001b',
      '[',
      ']',
      '0',
      ';',
      'm',
      '\u0007',
      '\\',
      '\u009b',
      '\u202e',
      'P',
      'x',
      '\n',
      '\u009c',
      '\u0000',
    ),
    { maxLength: 40 },
  );
  fc.assert(
    fc.property(nasty, (parts) => {
      expect(withoutEscapes(parts.join(''))).not.toMatch(
        /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e]/,
      );
    }),
  );
});
