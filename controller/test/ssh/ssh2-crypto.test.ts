import * as node from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import * as ours from '../../src/ssh/ssh2-crypto.ts';

describe('what ssh2 ciphers with', () => {
  const key = node.randomBytes(32);
  const iv = node.randomBytes(12);
  const text = node.randomBytes(1000);

  it('makes of a key what node:crypto makes of it, each time', () => {
    const sealed = ({ createCipheriv }: Pick<typeof ours, 'createCipheriv'>) => {
      const cipher = createCipheriv('aes-256-gcm', key, iv) as node.CipherGCM;
      return Buffer.concat([cipher.update(text), cipher.final(), cipher.getAuthTag()]);
    };
    const mac = ({ createHmac }: Pick<typeof ours, 'createHmac'>) =>
      createHmac('sha256', key).update(text).digest();
    for (let i = 0; i < 2; i++) {
      expect(sealed(ours)).toEqual(sealed(node));
      expect(mac(ours)).toEqual(mac(node));
    }
    const decipher = ours.createDecipheriv('aes-256-gcm', key, iv) as node.DecipherGCM;
    decipher.setAuthTag(sealed(node).subarray(-16));
    expect(Buffer.concat([decipher.update(sealed(node).subarray(0, -16)), decipher.final()])).toEqual(text);
  });

  it('is made of another key where the key is another one', () => {
    const of = (bytes: Buffer) => ours.createHmac('sha256', bytes).update(text).digest('hex');
    expect(of(node.randomBytes(32))).not.toBe(of(key));
    expect(of(Buffer.from(key))).toBe(of(key));
  });

  it('is in the bundle, and ssh2 reads node:crypto nowhere in its ciphers', () => {
    const bundle = readFileSync(
      join(import.meta.dirname, '../../../packages/cli/dist/controller.mjs'),
      'latin1',
    );
    const ciphers = bundle.slice(bundle.indexOf('require_crypto=__commonJS'));
    const imported = /\bcreateCipheriv:[^=]*\}=(.{0,40})/s.exec(ciphers)?.[1];
    expect(imported).toContain('ssh2_crypto');
  });
});
