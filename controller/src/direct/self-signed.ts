import {
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto';
import * as der from './der.ts';

/** A TLS key and the certificate that it signed for itself. */
export interface TlsKey {
  /** PKCS #8, PEM. */
  readonly key: string;
  /** PEM. */
  readonly certificate: string;
}

/** Whoever is given a certificate of ours compares the key in it; the name is for people. */
export const certificateName = 'codex-remote-controller';

/** A machine's clock may be slow. */
const backdatedMs = 24 * 60 * 60 * 1000;
/** A year has 365.25 days. */
const yearMs = 365.25 * 24 * 60 * 60 * 1000;
const validYears = 10;

const oid = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  basicConstraints: '2.5.29.19',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  subjectAltName: '2.5.29.17',
} as const;

/**
 * A new key and its certificate (RFC 5280). ECDSA on P-256: what every TLS 1.3 client takes, also those that know no
 * Ed25519. It is an end entity, not an authority: who trusts it trusts nothing that it could sign.
 */
export function makeTlsKey(nowMs: number): TlsKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const algorithm = der.sequence(der.objectId(oid.ecdsaWithSha256));
  const name = der.sequence(
    der.set(der.sequence(der.objectId(oid.commonName), der.utf8String(certificateName))),
  );
  const body = der.sequence(
    der.explicit(0, der.integer(Uint8Array.of(2))),
    der.integer(Buffer.concat([Uint8Array.of(1), randomBytes(15)])),
    algorithm,
    name,
    der.sequence(der.time(nowMs - backdatedMs), der.time(nowMs + validYears * yearMs)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der.explicit(
      3,
      der.sequence(
        extension(oid.basicConstraints, true, der.sequence()),
        // No key usage: OpenSSL takes a certificate for self-signed only where it may sign certificates.
        extension(oid.extendedKeyUsage, false, der.sequence(der.objectId(oid.serverAuth))),
        extension(
          oid.subjectAltName,
          false,
          der.sequence(der.implicit(2, new TextEncoder().encode(certificateName))),
        ),
      ),
    ),
  );
  const signature = sign('sha256', body, privateKey);
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    certificate: pem('CERTIFICATE', der.sequence(body, algorithm, der.bitString(signature))),
  };
}

function extension(id: string, critical: boolean, value: Uint8Array): Uint8Array {
  return der.sequence(der.objectId(id), ...(critical ? [der.boolean(true)] : []), der.octetString(value));
}

function pem(label: string, bytes: Uint8Array): string {
  const lines =
    Buffer.from(bytes)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n');
}

/** The pin of a certificate, as curl's `--pinnedpubkey sha256//` takes it: SHA-256 of its SubjectPublicKeyInfo, base64. */
export function pinOf(certificate: string): string {
  const spki = new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(spki).digest('base64');
}

/** Epoch ms. */
export function expiryOf(certificate: string): number {
  return Date.parse(new X509Certificate(certificate).validTo);
}

/** Whether both belong together. Throws what OpenSSL says of a key or certificate that is none. */
export function belongTogether({ key, certificate }: TlsKey): boolean {
  return new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key));
}
