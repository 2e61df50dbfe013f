import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LineSplitter, maxPieceBytes } from '../src/index.ts';

interface Piece {
  bytes: Buffer;
  text: boolean;
  offset: number;
  next: number;
  partial: boolean;
}

/** The stream as pieces, given in the chunks that `cuts` make. */
function piecesOf(stream: Buffer, cuts: readonly number[], partial = false): Piece[] {
  const pieces: Piece[] = [];
  const splitter = new LineSplitter({
    piece: (line, offset, next, part) =>
      pieces.push({ bytes: Buffer.from(line), text: typeof line === 'string', offset, next, partial: part }),
    gap: () => {},
  });
  let at = 0;
  for (const cut of [
    ...cuts.map((cut) => cut % (stream.byteLength + 1)).sort((a, b) => a - b),
    stream.byteLength,
  ]) {
    if (cut > at) splitter.push({ kind: 'data', stream: 1, offset: at, bytes: stream.subarray(at, cut) });
    at = Math.max(at, cut);
  }
  splitter.flush(partial);
  return pieces;
}

/** The stream again, by the places that the pieces name. */
function rebuilt(pieces: readonly Piece[]): Buffer {
  return Buffer.concat(
    pieces.map(({ bytes, offset, next }) =>
      next - offset > bytes.byteLength ? Buffer.concat([bytes, Buffer.from('\n')]) : bytes,
    ),
  );
}

const words = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }).map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  fc
    .constantFrom(
      '\n',
      '\n\n',
      '\r\n',
      'x'.repeat(maxPieceBytes),
      'é'.repeat(3000),
      '😀'.repeat(2100),
      'a'.repeat(9000),
    )
    .map((text) => Buffer.from(text)),
);
const streams = fc.array(words, { maxLength: 30 }).map((parts) => Buffer.concat(parts));

test('whatever the chunks, the pieces are the same and hold every byte', () => {
  fc.assert(
    fc.property(streams, fc.array(fc.nat(), { maxLength: 12 }), (stream, cuts) => {
      const whole = piecesOf(stream, []);
      expect(rebuilt(whole).equals(stream)).toBe(true);
      expect(piecesOf(stream, cuts)).toEqual(whole);
      let at = 0;
      for (const { bytes, offset, next } of whole) {
        expect(offset).toBe(at);
        expect(bytes.byteLength).toBeLessThanOrEqual(maxPieceBytes);
        at = next;
      }
      expect(at).toBe(stream.byteLength);
    }),
    { numRuns: 200 },
  );
});

test('one byte at a time gives the same pieces as all at once', () => {
  const stream = Buffer.from(`short\n${'ü'.repeat(5000)}\nend without newline`);
  const cuts = Array.from({ length: stream.byteLength }, (_, index) => index);
  expect(piecesOf(stream, cuts)).toEqual(piecesOf(stream, []));
});

test('characters of 2, 3 and 4 bytes, NUL and bytes that are no UTF-8, cut at each offset, are what they were [row 64]', () => {
  const stream = Buffer.concat([
    Buffer.from('ü€\u{1f680}\0\nplain\n'),
    Buffer.from([0xe2, 0x82, 0x0a, 0x00, 0xff, 0x0a]),
    Buffer.from('\u{1f680}'.repeat(3)),
  ]);
  const whole = piecesOf(stream, []);
  expect(whole.map(({ text }) => text)).toEqual([true, true, false, false, true]);
  for (let first = 0; first <= stream.byteLength; first++)
    for (let second = first; second <= stream.byteLength; second++)
      expect(piecesOf(stream, [first, second]), `${first} ${second}`).toEqual(whole);
  // The limit of a piece falls on each byte of a character in turn.
  for (let before = maxPieceBytes - 5; before <= maxPieceBytes; before++) {
    const line = Buffer.from(`${'x'.repeat(before)}\u{1f680}\n`);
    const pieces = piecesOf(line, []);
    expect(pieces.every(({ text, bytes }) => text && bytes.byteLength <= maxPieceBytes)).toBe(true);
    expect(rebuilt(pieces).equals(line)).toBe(true);
  }
});

test('a long line is cut before a character that does not fit, and its pieces say that it goes on', () => {
  const pieces = piecesOf(Buffer.from(`${'€'.repeat(3000)}\n`), []);
  expect(pieces.map(({ bytes, partial, text }) => [bytes.byteLength, partial, text])).toEqual([
    [4095, true, true],
    [4095, true, true],
    [810, false, true],
  ]);
});

test('a line of exactly the limit is one piece', () => {
  expect(
    piecesOf(Buffer.from(`${'x'.repeat(maxPieceBytes)}\n`), [100, 4096]).map(({ partial }) => partial),
  ).toEqual([false]);
});

test('a line that is not UTF-8 is given as bytes', () => {
  const pieces = piecesOf(Buffer.from([0x61, 0xff, 0x0a, 0x62, 0x0a]), []);
  expect(pieces.map(({ text, bytes }) => [text, [...bytes]])).toEqual([
    [false, [0x61, 0xff]],
    [true, [0x62]],
  ]);
});

test('an unfinished line is partial while the exec goes on', () => {
  expect(piecesOf(Buffer.from('a\nprompt: '), [], true).map(({ partial }) => partial)).toEqual([false, true]);
  expect(piecesOf(Buffer.from('a\nprompt: '), [], false).map(({ partial }) => partial)).toEqual([
    false,
    false,
  ]);
});
