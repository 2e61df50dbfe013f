import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { RemoteError } from '@codex-remote/protocol/wire';
import { fingerprint, type HostKey, readHostKey } from './host-key.ts';

/** sshd(8), SSH_KNOWN_HOSTS FILE FORMAT: one line that says something about a key. */
interface Entry {
  readonly marker?: 'revoked' | 'cert-authority';
  readonly matches: (name: string) => boolean;
  readonly key: HostKey;
  /** `path:line`, for messages. */
  readonly place: string;
}

export type HostKeyVerdict =
  | { readonly kind: 'match' }
  /** The host has another key of this type. `known`: the fingerprints that were expected. */
  | { readonly kind: 'changed'; readonly places: readonly string[]; readonly known: readonly string[] }
  /** No key of this type is known. `otherTypes`: what is known of the host all the same. */
  | { readonly kind: 'unknown'; readonly otherTypes: readonly string[] }
  | { readonly kind: 'revoked'; readonly places: readonly string[] };

/** The name under which OpenSSH keeps a host's key: `[host]:port` where the port is not 22. */
export function knownHostName(host: string, port: number): string {
  return port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`;
}

/** Everything that known_hosts files say. A line that cannot be read says nothing, as in OpenSSH. */
export class KnownHosts {
  readonly #entries: readonly Entry[];

  private constructor(entries: readonly Entry[]) {
    this.#entries = entries;
  }

  static parse(files: Iterable<{ readonly path: string; readonly text: string }>): KnownHosts {
    const entries: Entry[] = [];
    for (const { path, text } of files) {
      for (const [i, line] of text.split('\n').entries()) {
        const entry = parseLine(line, `${path}:${i + 1}`);
        if (entry !== undefined) entries.push(entry);
      }
    }
    return new KnownHosts(entries);
  }

  /**
   * Reads the files; one that does not exist is empty. Throws `ssh_config_invalid` for one that cannot be read: without
   * it nobody can say whether a key has changed.
   */
  static async read(paths: readonly string[]): Promise<KnownHosts> {
    const files = await Promise.all(paths.map(async (path) => ({ path, text: await readOrEmpty(path) })));
    return KnownHosts.parse(files);
  }

  /** Key types known for any of the names, so that a host with several keys is asked for one that can be judged. */
  keyTypes(names: readonly string[]): readonly string[] {
    return [
      ...new Set(this.#about(names).flatMap((entry) => (entry.marker === undefined ? [entry.key.type] : []))),
    ];
  }

  /** True when the names' keys are vouched for by a certificate authority: ssh2 has no host certificates. */
  hasAuthority(names: readonly string[]): boolean {
    return this.#about(names).some((entry) => entry.marker === 'cert-authority');
  }

  /**
   * What is known of the key under `names[0]`. Where nothing is, a match under a later name counts too: OpenSSH accepts a
   * key known for the host without its port.
   */
  lookup(names: readonly string[], key: HostKey): HostKeyVerdict {
    const revoked = this.#about(names).filter(
      (entry) => entry.marker === 'revoked' && entry.key.blob.equals(key.blob),
    );
    if (revoked.length > 0) return { kind: 'revoked', places: revoked.map((entry) => entry.place) };
    const verdict = this.#judge(names.slice(0, 1), key);
    if (verdict.kind !== 'unknown' || verdict.otherTypes.length > 0) return verdict;
    return this.#judge(names.slice(1), key).kind === 'match' ? { kind: 'match' } : verdict;
  }

  #judge(names: readonly string[], key: HostKey): HostKeyVerdict {
    const plain = this.#about(names).filter((entry) => entry.marker === undefined);
    const sameType = plain.filter((entry) => entry.key.type === key.type);
    if (sameType.some((entry) => entry.key.blob.equals(key.blob))) return { kind: 'match' };
    if (sameType.length > 0) {
      return {
        kind: 'changed',
        places: sameType.map((entry) => entry.place),
        known: sameType.map((entry) => fingerprint(entry.key)),
      };
    }
    return { kind: 'unknown', otherTypes: [...new Set(plain.map((entry) => entry.key.type))] };
  }

  #about(names: readonly string[]): readonly Entry[] {
    return this.#entries.filter((entry) => names.some((name) => entry.matches(name)));
  }
}

async function readOrEmpty(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw new RemoteError(
      'ssh_config_invalid',
      `the known_hosts file ${path} cannot be read`,
      { hint: `make ${path} readable: without it no host key can be checked` },
      error,
    );
  }
}

function parseLine(line: string, place: string): Entry | undefined {
  const words = line.trim().split(/[ \t]+/);
  const marker = words[0]?.startsWith('@') ? words.shift() : undefined;
  const [hosts, type, base64] = words;
  if (
    hosts === undefined ||
    hosts === '' ||
    hosts.startsWith('#') ||
    type === undefined ||
    base64 === undefined
  )
    return undefined;
  if (marker !== undefined && marker !== '@revoked' && marker !== '@cert-authority') return undefined;
  const blob = Buffer.from(base64, 'base64');
  // Node passes over what is no base64, OpenSSH does not.
  const key = blob.toString('base64') === base64 ? readHostKey(blob) : undefined;
  if (key === undefined || key.type !== type) return undefined;
  const matches = hosts.startsWith('|') ? hashedName(hosts) : patternList(hosts.toLowerCase());
  if (matches === undefined) return undefined;
  return {
    ...(marker === undefined ? {} : { marker: marker === '@revoked' ? 'revoked' : 'cert-authority' }),
    matches,
    key,
    place,
  };
}

/** `|1|salt|HMAC-SHA1 of the name`, both base64. */
function hashedName(text: string): ((name: string) => boolean) | undefined {
  const [, version, salt, hash, ...rest] = text.split('|');
  if (version !== '1' || !salt || !hash || rest.length > 0) return undefined;
  const saltBytes = Buffer.from(salt, 'base64');
  const expected = Buffer.from(hash, 'base64');
  return (name) => createHmac('sha1', saltBytes).update(name).digest().equals(expected);
}

/** Comma-separated patterns with `*` and `?`; one that begins with `!` and matches overrides all others. */
function patternList(text: string): (name: string) => boolean {
  const patterns = text
    .split(',')
    .map((pattern) => ({ negated: pattern.startsWith('!'), glob: pattern.replace(/^!/, '') }));
  return (name) => {
    const hits = patterns.filter((pattern) => globMatches(pattern.glob, name));
    return hits.length > 0 && !hits.some((pattern) => pattern.negated);
  };
}

/** Linear in the pattern for each start: a hostile known_hosts pattern cannot make it exponential. */
export function globMatches(glob: string, name: string): boolean {
  let g = 0;
  let n = 0;
  let star = -1;
  let resume = 0;
  while (n < name.length) {
    const c = glob[g];
    if (c === '*') {
      star = g++;
      resume = n;
    } else if (c !== undefined && (c === '?' || c === name[n])) {
      g++;
      n++;
    } else if (star >= 0) {
      g = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (glob[g] === '*') g++;
  return g === glob.length;
}
