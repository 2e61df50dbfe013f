import * as crypto from 'node:crypto';

/**
 * What ssh2 ciphers with, in place of `node:crypto`; the bundler gives it this one. It makes a cipher or a MAC for each packet
 * of at most 32 KiB, from a key in a Buffer, and Node (24.21, `prepareSecretKey`) finds out that a Buffer is neither a
 * `KeyObject` nor a `CryptoKey` by two exceptions: 60 µs a packet, a quarter of what a tunnel costs. So a key becomes a
 * `KeyObject` once.
 */
export * from 'node:crypto';

/** Lives as long as the Buffer; ssh2 lets go of both at the next key exchange. */
const keys = new WeakMap<crypto.CipherKey & object, crypto.KeyObject>();

function keyObjectOf(key: crypto.CipherKey): crypto.CipherKey {
  if (!Buffer.isBuffer(key)) return key;
  const made = keys.get(key) ?? crypto.createSecretKey(key);
  keys.set(key, made);
  return made;
}

export function createCipheriv(
  algorithm: string,
  key: crypto.CipherKey,
  iv: crypto.BinaryLike | null,
): crypto.Cipheriv {
  return crypto.createCipheriv(algorithm, keyObjectOf(key), iv);
}

export function createDecipheriv(
  algorithm: string,
  key: crypto.CipherKey,
  iv: crypto.BinaryLike | null,
): crypto.Decipheriv {
  return crypto.createDecipheriv(algorithm, keyObjectOf(key), iv);
}

export function createHmac(algorithm: string, key: crypto.CipherKey): crypto.Hmac {
  return crypto.createHmac(algorithm, keyObjectOf(key));
}
