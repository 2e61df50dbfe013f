import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Certificate {
  readonly key: string;
  readonly cert: string;
  /** Base64 SHA-256 of its public key. */
  readonly pin: string;
}

/** A self-signed certificate for 127.0.0.1, by openssl(1). Nothing stays on disk. */
export function selfSigned(name: string): Certificate {
  const dir = mkdtempSync(join(tmpdir(), 'cr-cert-'));
  try {
    const [key, cert] = [join(dir, 'key'), join(dir, 'cert')];
    const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1'];
    const files = ['-keyout', key, '-out', cert];
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'ed25519', '-nodes', '-days', '2', ...files, ...subject],
      { stdio: 'ignore' },
    );
    const pem = readFileSync(cert, 'utf8');
    return { key: readFileSync(key, 'utf8'), cert: pem, pin: pinOf(pem) };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function pinOf(pem: string): string {
  const spki = new X509Certificate(pem).publicKey.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(spki).digest('base64');
}
