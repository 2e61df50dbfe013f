import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { parsePublicUrl, RemoteError } from '@codex-remote/protocol/wire';
import type { RemoteController } from './remote.ts';
import { isObject } from './shape.ts';

/** The variables that lead to a controller elsewhere; of one command line, never of a daemon. */
export const remoteVariables = ['CODEX_REMOTE_URL', 'CODEX_REMOTE_TOKEN_FILE', 'CODEX_REMOTE_TOKEN'] as const;

type Env = Readonly<Record<string, string | undefined>>;

/** A token file is one line of JSON with a certificate or two. */
const maxTokenBytes = 64 * 1024;

/** Whether a controller elsewhere is meant, well or badly named. */
export function namesRemote(env: Env): boolean {
  return remoteVariables.some((name) => Boolean(env[name]));
}

/**
 * The controller elsewhere that the environment names; undefined where it names none, and ours is meant. `CODEX_REMOTE_TOKEN_FILE`
 * is what `token create --output` wrote; `CODEX_REMOTE_TOKEN` holds the same line, for where files are in the way. The
 * address is in it; `CODEX_REMOTE_URL` names another way to the same controller. Throws `unauthorized`, `usage`.
 */
export function remoteOf(env: Env): RemoteController | undefined {
  const { CODEX_REMOTE_URL: url, CODEX_REMOTE_TOKEN_FILE: file, CODEX_REMOTE_TOKEN: line } = env;
  if (!namesRemote(env)) return undefined;
  if (file && line)
    throw new RemoteError('usage', 'CODEX_REMOTE_TOKEN and CODEX_REMOTE_TOKEN_FILE exclude each other', {
      sent: 'no',
    });
  const from = line ? 'CODEX_REMOTE_TOKEN' : (file ?? '');
  const text = line || (file && readTokenFile(file));
  if (!text)
    throw unauthorized(
      'CODEX_REMOTE_URL is set, and no token',
      'CODEX_REMOTE_TOKEN_FILE names the file that `codex-remote token create --output FILE` wrote on the host of the controller',
    );
  return documentOf(text, from, url || undefined);
}

function documentOf(text: string, from: string, url: string | undefined): RemoteController {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (
    !isObject(value) ||
    typeof value.token !== 'string' ||
    !/^[\w.~+/=-]+$/.test(value.token) ||
    typeof value.url !== 'string' ||
    !isTexts(value.certificates) ||
    !isTexts(value.spki_sha256)
  )
    throw unauthorized(
      `${from} does not hold what \`token create\` wrote`,
      'it is one line of JSON with url, token, certificates and spki_sha256; the secret alone is not enough to know the controller',
    );
  for (const certificate of value.certificates) {
    try {
      new (process.getBuiltinModule('node:crypto').X509Certificate)(certificate);
    } catch {
      throw unauthorized(
        `${from} has a certificate that is none`,
        'take the file as `token create` wrote it',
      );
    }
  }
  return {
    url: parsePublicUrl(url ?? value.url),
    token: value.token,
    certificates: value.certificates,
    spki_sha256: value.spki_sha256,
  };
}

/** Ours, and nobody else can read it: what others read is no secret. */
function readTokenFile(path: string): string {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const errno = (error as NodeJS.ErrnoException).code ?? 'unknown';
    throw unauthorized(
      `the token file ${path} cannot be read (${errno})`,
      'CODEX_REMOTE_TOKEN_FILE names it; `codex-remote token create --output FILE` on the host of the controller makes one',
    );
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw unauthorized(`the token file ${path} is no file`, 'name the file itself');
    const uid = process.getuid?.();
    if (uid !== undefined && stat.uid !== uid)
      throw unauthorized(
        `the token file ${path} belongs to another user`,
        `copy it: install -m 600 ${path} …`,
      );
    if ((stat.mode & 0o077) !== 0)
      throw unauthorized(
        `the token file ${path} is open to others (mode 0${(stat.mode & 0o777).toString(8)})`,
        `chmod 600 ${path}; where others could have read it, revoke the token`,
      );
    if (stat.size > maxTokenBytes) throw unauthorized(`the token file ${path} is too large`, 'name another');
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.length > 0 && value.every((entry) => typeof entry === 'string');
}

function unauthorized(what: string, hint: string): RemoteError {
  return new RemoteError('unauthorized', `unauthorized: ${what}`, { hint, sent: 'no' });
}
