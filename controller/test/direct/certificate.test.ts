import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Certificates } from '../../src/direct/certificate.ts';
import { pinOf } from '../../src/direct/self-signed.ts';

const now = Date.parse('2026-05-04T03:02:01Z');
const day = 24 * 60 * 60 * 1000;

describe("the controller's certificate", () => {
  let dir: string;
  let path: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'crc-'));
    path = join(dir, 'certificate.json');
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  test('is made once, 0600, and the same after a restart', () => {
    const first = Certificates.open(path, now);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(Certificates.open(path, now + day).trust).toEqual(first.trust);
    expect(first.trust.spki_sha256).toEqual([pinOf(first.current.certificate)]);
    expect(first.next).toBeUndefined();
  });

  test('rotates with overlap: both are trusted until the switch, over restarts too; then the new one alone', () => {
    const before = Certificates.open(path, now);
    const old = before.current;
    before.rotate(now, now + day);
    const between = Certificates.open(path, now);
    expect(between.current).toEqual(old);
    expect(between.next?.fromMs).toBe(now + day);
    expect(between.trust.certificates).toEqual([old.certificate, between.next?.certificate]);
    expect(between.trust.spki_sha256).toEqual(between.trust.certificates.map(pinOf));
    expect(between.switchWhenDue(now + day - 1)).toBe(false);
    const { next } = between;
    expect(between.switchWhenDue(now + day)).toBe(true);
    expect(between.current.certificate).toBe(next?.certificate);
    expect(between.next).toBeUndefined();
    expect(between.switchWhenDue(now + 9 * day)).toBe(false);
    expect(Certificates.open(path, now).trust).toEqual(between.trust);
    expect(readFileSync(path, 'utf8')).not.toContain(JSON.stringify(old.key));
  });

  test('a rotation that is asked for again keeps the key that was announced', () => {
    const certificates = Certificates.open(path, now);
    certificates.rotate(now, now + 7 * day);
    const { trust } = certificates;
    certificates.rotate(now, now);
    expect(certificates.trust).toEqual(trust);
    expect(certificates.switchWhenDue(now)).toBe(true);
  });

  test.each([
    ['cut', (text: string) => text.slice(0, 100)],
    ['empty', () => ''],
    ['of another', (text: string) => text.replace(/("key": ").*?(")/, (_all, a, b) => a + otherKey() + b)],
  ])('that is %s is state_unusable, and not made anew', (_what, damage) => {
    Certificates.open(path, now);
    const damaged = damage(readFileSync(path, 'utf8'));
    writeFileSync(path, damaged);
    expect(() => Certificates.open(path, now)).toThrow(expect.objectContaining({ code: 'state_unusable' }));
    expect(readFileSync(path, 'utf8')).toBe(damaged);
  });

  function otherKey(): string {
    return JSON.stringify(Certificates.open(join(dir, 'other.json'), now).current.key).slice(1, -1);
  }
});
