import { createCipheriv, randomBytes } from 'node:crypto';
import { syncMacBytes } from '@codex-remote/protocol/wire';

const cipher = 'aes-128-gcm';
/** A key is used for one file, so that a constant one is as good as any (NIST SP 800-38D, section 8). */
const iv = Buffer.alloc(12);

/**
 * Whether content has come as it was read: GMAC (NIST SP 800-38D) under a key that its source has made for it. It misses an
 * accident once in 2^100, for a gigabyte, and takes a tenth of the time of SHA-256: 50 ms on each side. It names no content:
 * whoever has the key can make another with the same MAC.
 */
export class ContentMac {
  readonly #cipher;

  /** `key`: `newMacKey` of the source. */
  constructor(key: Uint8Array) {
    this.#cipher = createCipheriv(cipher, key, iv, { authTagLength: syncMacBytes });
  }

  update(bytes: Uint8Array): void {
    this.#cipher.setAAD(bytes);
  }

  /** Once, when nothing more comes. */
  digest(): Buffer {
    this.#cipher.final();
    return this.#cipher.getAuthTag();
  }
}

export function newMacKey(): Buffer {
  return randomBytes(syncMacBytes);
}
