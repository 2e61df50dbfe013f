import { createHash } from 'node:crypto';

/** A public key as it travels: RFC 4253 section 6.6, a string naming the type and then its numbers. */
export interface HostKey {
  readonly type: string;
  readonly blob: Buffer;
}

/** Undefined when the bytes are not a public key blob. */
export function readHostKey(blob: Buffer): HostKey | undefined {
  if (blob.length < 8) return undefined;
  const length = blob.readUInt32BE(0);
  if (length < 1 || length > 64 || blob.length < 4 + length + 4) return undefined;
  const type = blob.toString('latin1', 4, 4 + length);
  return /^[\x21-\x7e]+$/.test(type) ? { type, blob } : undefined;
}

/** `SHA256:…` as ssh-keygen(1) shows it. */
export function fingerprint(key: HostKey): string {
  return `SHA256:${createHash('sha256').update(key.blob).digest('base64').replace(/=+$/, '')}`;
}

/** Signature algorithms by which a host can prove that it has a key of this type, best first. */
export function signatureAlgorithms(keyType: string): readonly string[] {
  return keyType === 'ssh-rsa' ? ['rsa-sha2-512', 'rsa-sha2-256'] : [keyType];
}
