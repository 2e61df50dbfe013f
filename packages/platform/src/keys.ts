import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { readFileSync } from 'node:fs';
import { RemoteError } from '@codex-remote/protocol/wire';
import { writeDurableSync } from './durable.ts';
import { failpoint } from './failpoint.ts';

/** An Ed25519 identity (RFC 8032). The private half never leaves the process but for its own 0600 file. */
export interface Identity {
  /** Raw public key, 32 bytes, base64url. */
  readonly publicKey: string;
  sign(bytes: Uint8Array): string;
}

/** The key in `path` (PKCS #8 PEM, 0600), made there when missing; for the process that holds the
 * folder's lock, or is alone there. Throws `state_unusable`. */
export function loadOrCreateIdentity(path: string): Identity {
  try {
    return identityOf(createPrivateKey(readFileSync(path)));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      throw new RemoteError(
        'state_unusable',
        `the key ${path} cannot be read`,
        {
          hint: 'restore it from a backup, or remove it and run `codex-remote machine up` for every machine',
        },
        error,
      );
    }
  }
  const { privateKey } = generateKeyPairSync('ed25519');
  failpoint('key.before');
  writeDurableSync(path, privateKey.export({ type: 'pkcs8', format: 'pem' }));
  failpoint('key.after');
  return identityOf(createPrivateKey(readFileSync(path)));
}

export function identityOf(privateKey: KeyObject): Identity {
  const jwk = createPublicKey(privateKey).export({ format: 'jwk' });
  if (jwk.crv !== 'Ed25519' || !jwk.x)
    throw new RemoteError('state_unusable', 'the key is not an Ed25519 key');
  return { publicKey: jwk.x, sign: (bytes) => sign(null, bytes, privateKey).toString('base64url') };
}

/** False for a wrong signature and for a key that is none. */
export function verifySignature(publicKey: string, bytes: Uint8Array, signature: string): boolean {
  try {
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: publicKey }, format: 'jwk' });
    return verify(null, bytes, key, Buffer.from(signature, 'base64url'));
  } catch {
    return false;
  }
}
