import { readFileSync } from 'node:fs';
import { failpoint, writeDurableSync } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import { belongTogether, makeTlsKey, pinOf, type TlsKey } from './self-signed.ts';

const tlsKey = z.object({ key: z.string(), certificate: z.string() });
const stored = z.object({
  version: z.literal(1),
  current: tlsKey,
  /** It is announced, and serves from `from` on. */
  next: tlsKey.extend({ from: z.iso.datetime() }).optional(),
});
type Stored = z.infer<typeof stored>;

/** What a client is given to know this controller by: certificates as they are, and pins of their keys. */
export interface Trust {
  readonly certificates: readonly string[];
  readonly spki_sha256: readonly string[];
}

/**
 * The TLS keys of this controller, `certificate.json` in its config folder, 0600: the one that serves, and during a
 * rotation the one that will. Both are in one file, so that a switch is one rename.
 */
export class Certificates {
  readonly #path: string;
  #stored: Stored;

  private constructor(path: string, read: Stored) {
    this.#path = path;
    this.#stored = read;
  }

  /** Makes the first key when there is none; for the process that holds the folder's lock. Throws `state_unusable`. */
  static open(path: string, nowMs: number): Certificates {
    const read = readStored(path);
    if (read) return new Certificates(path, read);
    const made: Stored = { version: 1, current: makeTlsKey(nowMs) };
    write(path, made);
    return new Certificates(path, made);
  }

  get current(): TlsKey {
    return this.#stored.current;
  }

  /** The key that will serve, and from when, epoch ms. */
  get next(): (TlsKey & { readonly fromMs: number }) | undefined {
    const { next } = this.#stored;
    return next && { key: next.key, certificate: next.certificate, fromMs: Date.parse(next.from) };
  }

  /** The key that serves first, then the one that will. */
  get trust(): Trust {
    const { current, next } = this.#stored;
    const certificates = [current, ...(next ? [next] : [])].map(({ certificate }) => certificate);
    return { certificates, spki_sha256: certificates.map(pinOf) };
  }

  /** Makes the next key, to serve from `fromMs` on; where one waits already that is kept, and its time set anew. */
  rotate(nowMs: number, fromMs: number): void {
    const { current, next = makeTlsKey(nowMs) } = this.#stored;
    const { key, certificate } = next;
    this.#replace({
      version: 1,
      current,
      next: { key, certificate, from: new Date(fromMs).toISOString() },
    });
  }

  /** The next key serves from here on, and the one before it is gone. False where its time has not come. */
  switchWhenDue(nowMs: number): boolean {
    const { next } = this.#stored;
    if (!next || Date.parse(next.from) > nowMs) return false;
    this.#replace({ version: 1, current: { key: next.key, certificate: next.certificate } });
    return true;
  }

  #replace(changed: Stored): void {
    write(this.#path, changed);
    this.#stored = changed;
  }
}

function write(path: string, changed: Stored): void {
  failpoint('controller.certificate.before');
  writeDurableSync(path, `${JSON.stringify(changed, undefined, 2)}\n`);
  failpoint('controller.certificate.after');
}

function readStored(path: string): Stored | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unusable(path, error);
  }
  try {
    const read = stored.parse(JSON.parse(text));
    for (const pair of [read.current, ...(read.next ? [read.next] : [])])
      if (!belongTogether(pair)) throw new Error('key and certificate do not belong together');
    return read;
  } catch (error) {
    throw unusable(path, error);
  }
}

/** It is not made anew by itself: every agent and remote CLI that pins the old key would be turned away without a word. */
function unusable(path: string, cause: unknown): RemoteError {
  return new RemoteError(
    'state_unusable',
    `the TLS key in ${path} cannot be read`,
    {
      hint: 'restore it from a backup; or remove it, and machines with a direct connection need `machine up` or a new invitation',
    },
    cause,
  );
}
