import { execFileSync } from 'node:child_process';
import { createHash, createPublicKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import * as der from '../../src/direct/der.ts';
import {
  belongTogether,
  certificateName,
  expiryOf,
  makeTlsKey,
  pinOf,
} from '../../src/direct/self-signed.ts';

const now = Date.parse('2026-05-04T03:02:01.500Z');

describe('a certificate of ours', () => {
  const made = makeTlsKey(now);
  const read = new X509Certificate(made.certificate);

  test('is what Node reads of it: signed by its own key, an end entity, within its time', () => {
    expect(read.verify(read.publicKey)).toBe(true);
    expect(read.checkIssued(read)).toBe(true);
    expect(belongTogether(made)).toBe(true);
    expect(belongTogether({ ...made, key: makeTlsKey(now).key })).toBe(false);
    expect(read.ca).toBe(false);
    expect(read.subject).toBe(`CN=${certificateName}`);
    expect(read.issuer).toBe(read.subject);
    expect(read.checkHost(certificateName)).toBe(certificateName);
    expect(read.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1']);
    expect(read.publicKey.asymmetricKeyDetails).toMatchObject({ namedCurve: 'prime256v1' });
    expect(new Date(read.validFrom).toISOString()).toBe('2026-05-03T03:02:01.000Z');
    expect(new Date(expiryOf(made.certificate)).toISOString()).toBe('2036-05-03T15:02:01.000Z');
    expect(read.serialNumber).toMatch(/^01[0-9A-F]{30}$/);
    expect(new X509Certificate(makeTlsKey(now).certificate).serialNumber).not.toBe(read.serialNumber);
  });

  test('after 2049 has its times in the longer form', () => {
    const late = new X509Certificate(makeTlsKey(Date.parse('2049-06-01T00:00:00Z')).certificate);
    expect([late.validFrom, late.validTo].map((text) => new Date(text).getUTCFullYear())).toEqual([
      2049, 2059,
    ]);
  });

  test('has the pin that openssl makes of it, and is well formed to its strict reading', () => {
    const dir = mkdtempSync(join(tmpdir(), 'crc-'));
    try {
      const file = join(dir, 'c.pem');
      writeFileSync(file, made.certificate);
      const key = execFileSync('openssl', ['x509', '-in', file, '-noout', '-pubkey']);
      const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
      expect(pinOf(made.certificate)).toBe(createHash('sha256').update(spki).digest('base64'));
      const verified = execFileSync('openssl', ['verify', '-purpose', 'sslserver', '-CAfile', file, file]);
      expect(verified.toString()).toContain('OK');
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

// Values of X.690 and of the examples in RFC 5280's references, written out by hand.
test.each([
  ['an integer that would read as negative', der.integer(Uint8Array.of(0x80)), '02020080'],
  ['an integer with zeros in front', der.integer(Uint8Array.of(0, 0, 1)), '020101'],
  ['zero', der.integer(Uint8Array.of(0)), '020100'],
  ['an object id', der.objectId('1.2.840.113549'), '06062a864886f70d'],
  ['true', der.boolean(true), '0101ff'],
  ['bits', der.bitString(Uint8Array.of(0x80)), '03020080'],
  ['an empty sequence', der.sequence(), '3000'],
  ['an explicit tag', der.explicit(3, der.sequence()), 'a3023000'],
  ['an implicit tag', der.implicit(2, Uint8Array.of(1)), '820101'],
])('DER of %s', (_what, bytes, expected) => {
  expect(hex(bytes)).toBe(expected);
});

test.each([
  [127, '047f'],
  [128, '048180'],
  [255, '0481ff'],
  [256, '04820100'],
  [65_536, '0483010000'],
])('DER of %i bytes begins with %s', (length, head) => {
  const bytes = der.octetString(new Uint8Array(length));
  expect(hex(bytes).slice(0, head.length)).toBe(head);
  expect(bytes.byteLength).toBe(head.length / 2 + length);
});
