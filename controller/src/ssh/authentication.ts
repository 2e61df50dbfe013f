import { RemoteError } from '@codex-remote/protocol/wire';
import type { AnyAuthMethod, AuthenticationType, ParsedKey } from 'ssh2';
import { AskedLogins } from './asked-logins.ts';
import { fingerprint, type HostKey, readHostKey } from './host-key.ts';
import { type KeyFile, readKeyFile } from './key-file.ts';
import { LockedKeys } from './locked-keys.ts';
import { OrderedAgent } from './ordered-agent.ts';
import type { Ask } from './question.ts';
import type { ResolvedHost } from './resolve.ts';

/** The method to try next; false when there is none, which ssh2's types forget. */
export type NextMethod = (method: AnyAuthMethod | false) => void;

/**
 * One login in OpenSSH's order: the agent's keys that an IdentityFile names, the agent's others, key files, and where
 * someone can be asked locked key files and then what the server asks. Remembers what it tried, so that a refusal can be
 * understood.
 */
export class Authentication {
  readonly #host: ResolvedHost;
  readonly #files: readonly KeyFile[];
  readonly #queue: AnyAuthMethod[];
  readonly #tried: string[] = [];
  readonly #asked: AskedLogins | undefined;
  readonly #locked: LockedKeys | undefined;
  /** What the server answers now. */
  #current: AnyAuthMethod | undefined;
  #agentHeld = new Set<string>();
  #agentError = false;
  #methods: readonly string[] = [];

  private constructor(host: ResolvedHost, files: readonly KeyFile[], ask: Ask | undefined) {
    this.#host = host;
    this.#files = files;
    const username = host.user;
    // `none` first: it is how a server says which methods it has (RFC 4252 section 5.2).
    this.#queue = [{ type: 'none', username }];
    if (host.identityAgent !== undefined) {
      this.#queue.push({
        type: 'agent',
        username,
        agent: new OrderedAgent(host.identityAgent, (keys) => this.#agentKeys(keys)),
      });
    }
    for (const file of files) {
      if (file.kind === 'usable') this.#queue.push({ type: 'publickey', username, key: file.key });
    }
    if (ask === undefined) return;
    const locked = new LockedKeys(files, ask);
    if (locked.any) {
      this.#queue.push({ type: 'agent', username, agent: locked });
      this.#locked = locked;
    }
    this.#asked = new AskedLogins(host, ask);
  }

  /** `ask`: where a person can be asked. */
  static async prepare(host: ResolvedHost, ask?: Ask): Promise<Authentication> {
    return new Authentication(host, await Promise.all(host.identityFiles.map(readKeyFile)), ask);
  }

  /** For `authHandler` of ssh2. Answers by `give`, which may be called later: someone is asked. */
  readonly next = (
    methods: readonly AuthenticationType[] | null,
    _partialSuccess: boolean | null,
    give: NextMethod,
  ): void => {
    if (methods !== null) this.#methods = methods;
    // ssh2 keeps to itself what the server said to an agent's keys.
    const known = this.#current?.type === 'agent' ? undefined : (methods ?? []);
    const take = (method: AnyAuthMethod | false): void => {
      this.#current = method || undefined;
      give(method);
    };
    const key = this.#nextKey(methods);
    if (key || !this.#asked) take(key);
    else void this.#asked.next(known).then(take);
  };

  #nextKey(methods: readonly AuthenticationType[] | null): AnyAuthMethod | false {
    for (let method = this.#queue.shift(); method !== undefined; method = this.#queue.shift()) {
      if (method.type !== 'none' && methods !== null && !methods.includes('publickey')) continue;
      if (method.type === 'publickey') {
        const file = this.#files.find(
          (candidate) => candidate.kind === 'usable' && candidate.key === method.key,
        );
        const shown = file?.publicKey === undefined ? '' : ` ${fingerprint(file.publicKey)}`;
        // The agent has already offered the same key, and servers count attempts.
        if (file?.publicKey !== undefined && this.#agentHeld.has(fingerprint(file.publicKey))) continue;
        this.#tried.push(`${file?.path ?? 'key'}${shown}`);
      }
      return method;
    }
    return false;
  }

  /** An agent did not sign, or does not answer. A locked key that stays locked is none of that. */
  agentFailed(): void {
    const current = this.#current;
    if (current?.type !== 'agent' || current.agent !== this.#locked) this.#agentError = true;
  }

  /** What to say when the server accepted nothing. */
  error(cause?: unknown): RemoteError {
    const { host, user, port } = this.#host;
    const skipped = this.#files.flatMap((file) =>
      file.kind === 'usable' || file.kind === 'absent' ? [] : [`${file.path} (${why[file.kind]})`],
    );
    if (this.#agentError) skipped.push('ssh-agent (does not answer)');
    const tried =
      this.#tried.length === 0
        ? 'no key could be tried'
        : `${this.#tried.length} key(s) tried: ${this.#tried.join(', ')}`;
    return new RemoteError(
      'ssh_auth_failed',
      `${user}@${host} port ${port} accepted no credential; ${tried}${skipped.length > 0 ? `; skipped: ${skipped.join(', ')}` : ''}`,
      {
        hint: this.#hint(),
        facts: { user, host, port, tried: [...this.#tried], skipped, methods: [...this.#methods] },
      },
      cause,
    );
  }

  #hint(): string {
    const of = (kind: KeyFile['kind']) => this.#files.find((file) => file.kind === kind)?.path;
    const locked = of('encrypted');
    if (locked !== undefined)
      return `unlock the key for this session with \`ssh-add ${locked}\`, then repeat`;
    const open = of('too_open');
    if (open !== undefined) return `others may read ${open}: \`chmod 600 ${open}\`, then repeat`;
    if (this.#methods.length > 0 && !this.#methods.includes('publickey')) {
      return `the server takes only ${this.#methods.join(', ')}: have public keys enabled there, or use ssh's own login with the system transport`;
    }
    if (this.#tried.length === 0)
      return 'load a key with `ssh-add`, or name one with IdentityFile in the ssh configuration';
    return `add one of these public keys to ~/.ssh/authorized_keys of ${this.#host.user} there, or load the right key with \`ssh-add\``;
  }

  #agentKeys(keys: readonly ParsedKey[]): ParsedKey[] {
    const named = this.#files.flatMap((file) =>
      file.publicKey === undefined ? [] : [fingerprint(file.publicKey)],
    );
    const held = keys.flatMap((key) => {
      const shown = printOf(key);
      return shown === undefined ? [] : [{ key, shown, rank: named.indexOf(shown) }];
    });
    const first = held.filter((entry) => entry.rank >= 0).sort((a, b) => a.rank - b.rank);
    const others = this.#host.identitiesOnly ? [] : held.filter((entry) => entry.rank < 0);
    const order = [...first, ...others];
    this.#agentHeld = new Set(order.map((entry) => entry.shown));
    this.#tried.push(...order.map((entry) => `ssh-agent ${entry.shown}`));
    return order.map((entry) => entry.key);
  }
}

const why = {
  encrypted: 'locked by a passphrase',
  too_open: 'readable by others',
  unsupported: 'not a kind of key that can be used here',
  unreadable: 'cannot be read',
} as const;

function printOf(key: ParsedKey): string | undefined {
  const read: HostKey | undefined = readHostKey(key.getPublicSSH());
  return read === undefined ? undefined : fingerprint(read);
}
