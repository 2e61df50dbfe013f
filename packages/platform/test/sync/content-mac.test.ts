import { createCipheriv, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { ContentMac, newMacKey } from '../../src/sync/content-mac.ts';

function macOf(key: Uint8Array, pieces: readonly Uint8Array[]): string {
  const mac = new ContentMac(key);
  for (const piece of pieces) mac.update(piece);
  return mac.digest().toString('hex');
}

// The Galois/Counter Mode of Operation (McGrew, Viega), appendix B, test case 1: no text, and here no AAD.
test('of nothing it is that of the test vector', () => {
  expect(macOf(Buffer.alloc(16), [])).toBe('58e2fccefa7e3061367f1d57a4e7455a');
});

test('pieces make no difference, of whatever length and number', () => {
  const key = newMacKey();
  const content = randomBytes(300_001);
  const whole = createCipheriv('aes-128-gcm', key, Buffer.alloc(12));
  whole.setAAD(content);
  whole.final();
  const expected = whole.getAuthTag().toString('hex');
  for (const length of [1, 15, 16, 17, 4097, 131_072]) {
    const pieces: Buffer[] = [];
    for (let at = 0; at < content.byteLength; at += length) pieces.push(content.subarray(at, at + length));
    expect(macOf(key, [...pieces, Buffer.alloc(0)]), String(length)).toBe(expected);
  }
});

test('a bit, a byte more and two blocks in another order make another', () => {
  const key = newMacKey();
  const content = randomBytes(64);
  const other = Buffer.from(content);
  other[17] = (other[17] ?? 0) ^ 1;
  const swapped = Buffer.concat([content.subarray(16, 32), content.subarray(0, 16), content.subarray(32)]);
  const macs = [content, other, swapped, Buffer.concat([content, Buffer.alloc(1)])].map((bytes) =>
    macOf(key, [bytes]),
  );
  expect(new Set([...macs, macOf(newMacKey(), [content])]).size).toBe(5);
});
