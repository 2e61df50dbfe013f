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
  let made = keys.get(key);
  if (!made) {
    made = crypto.createSecretKey(key);
    keys.set(key, made);
  }
  return made;
}

function keyedOnce<Rest extends unknown[], Made>(
  make: (algorithm: string, key: crypto.CipherKey, ...rest: Rest) => Made,
): typeof make {
  return (algorithm, key, ...rest) => make(algorithm, keyObjectOf(key), ...rest);
}

export const createCipheriv = keyedOnce<[iv: crypto.BinaryLike | null], crypto.Cipheriv>(
  crypto.createCipheriv,
);
export const createDecipheriv = keyedOnce<[iv: crypto.BinaryLike | null], crypto.Decipheriv>(
  crypto.createDecipheriv,
);
export const createHmac = keyedOnce<[], crypto.Hmac>(crypto.createHmac);
