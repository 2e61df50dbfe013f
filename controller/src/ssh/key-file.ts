import { open, readFile } from 'node:fs/promises';
import ssh2, { type ParsedKey } from 'ssh2';
import { type HostKey, readHostKey } from './host-key.ts';

/** What an IdentityFile turned out to be. `publicKey` is known for most, also for locked ones: an agent may hold its other half. */
export type KeyFile =
  | { readonly path: string; readonly kind: 'usable'; readonly key: ParsedKey; readonly publicKey?: HostKey }
  | {
      readonly path: string;
      readonly kind: 'encrypted' | 'too_open' | 'unsupported' | 'unreadable';
      readonly publicKey?: HostKey;
    }
  | { readonly path: string; readonly kind: 'absent'; readonly publicKey?: HostKey };

const maxKeyBytes = 64 * 1024;

/** Reads one IdentityFile and the `.pub` beside it. Never throws: what cannot be used says why. */
export async function readKeyFile(path: string): Promise<KeyFile> {
  const publicKey = await readPublicFile(`${path}.pub`);
  const known = publicKey === undefined ? {} : { publicKey };
  let text: string;
  let mode: number;
  try {
    const file = await open(path, 'r');
    try {
      const stat = await file.stat();
      if (!stat.isFile() || stat.size > maxKeyBytes) return { path, kind: 'unsupported', ...known };
      mode = stat.mode;
      text = await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (error) {
    return {
      path,
      kind: (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'absent' : 'unreadable',
      ...known,
    };
  }
  const container = readContainer(text);
  const shown = container?.publicKey ?? publicKey;
  const rest = { path, ...(shown === undefined ? {} : { publicKey: shown }) };
  // A public key in the place of a private one: the agent holds the other half.
  const line = readPublicLine(text);
  if (line !== undefined) return { path, kind: 'absent', publicKey: line };
  // As OpenSSH: a key that others may read is no secret.
  if (process.getuid !== undefined && (mode & 0o077) !== 0) return { ...rest, kind: 'too_open' };
  if (container?.encrypted ?? /^(Proc-Type: 4,ENCRYPTED|-----BEGIN ENCRYPTED PRIVATE KEY-----)/m.test(text))
    return { ...rest, kind: 'encrypted' };
  const parsed = parsePrivate(text);
  return parsed === undefined
    ? { ...rest, kind: 'unsupported' }
    : { ...rest, kind: 'usable', key: parsed, ...publicOf(parsed) };
}

/** The private key of a file that is locked; undefined where the passphrase is not its, or the file has gone. */
export async function unlockKeyFile(path: string, passphrase: string): Promise<ParsedKey | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined);
  return text === undefined ? undefined : parsePrivate(text, passphrase);
}

function publicOf(key: ParsedKey): { publicKey?: HostKey } {
  const publicKey = readHostKey(key.getPublicSSH());
  return publicKey === undefined ? {} : { publicKey };
}

function parsePrivate(text: string, passphrase?: string): ParsedKey | undefined {
  const parsed: unknown = ssh2.utils.parseKey(text, passphrase);
  const key: unknown = Array.isArray(parsed) ? parsed[0] : parsed;
  return isParsedKey(key) && key.isPrivateKey() ? key : undefined;
}

/** Among the things that ssh2 calls a key. */
export function isParsedKey(value: unknown): value is ParsedKey {
  return (
    typeof value === 'object' &&
    value !== null &&
    !(value instanceof Error) &&
    'isPrivateKey' in value &&
    'getPublicSSH' in value
  );
}

async function readPublicFile(path: string): Promise<HostKey | undefined> {
  try {
    const file = await open(path, 'r');
    try {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(maxKeyBytes), 0, maxKeyBytes, 0);
      return readPublicLine(buffer.toString('utf8', 0, bytesRead));
    } finally {
      await file.close();
    }
  } catch {
    return undefined;
  }
}

function readPublicLine(text: string): HostKey | undefined {
  const [type, base64] = text.trimStart().split(/\s+/, 2);
  if (type === undefined || base64 === undefined || !/^(ssh|ecdsa|sk)-/.test(type)) return undefined;
  const key = readHostKey(Buffer.from(base64, 'base64'));
  return key?.type === type ? key : undefined;
}

/** OpenSSH's own file format (PROTOCOL.key): cipher and public half stand in clear before the private one. */
function readContainer(text: string): { encrypted: boolean; publicKey?: HostKey } | undefined {
  const body = /-----BEGIN OPENSSH PRIVATE KEY-----([A-Za-z0-9+/=\s]*)-----END/.exec(text)?.[1];
  if (body === undefined) return undefined;
  const bytes = Buffer.from(body, 'base64');
  const magic = 'openssh-key-v1\0';
  if (bytes.toString('latin1', 0, magic.length) !== magic) return undefined;
  let at = magic.length;
  const next = (): Buffer | undefined => {
    if (at + 4 > bytes.length) return undefined;
    const end = at + 4 + bytes.readUInt32BE(at);
    if (end > bytes.length) return undefined;
    const field = bytes.subarray(at + 4, end);
    at = end;
    return field;
  };
  const cipher = next();
  const kdf = next();
  const kdfOptions = next();
  if (cipher === undefined || kdf === undefined || kdfOptions === undefined) return undefined;
  at += 4;
  const blob = next();
  const publicKey = blob === undefined ? undefined : readHostKey(blob);
  return {
    encrypted: cipher.toString('latin1') !== 'none',
    ...(publicKey === undefined ? {} : { publicKey }),
  };
}
