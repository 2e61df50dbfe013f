import { RemoteError } from '@codex-remote/protocol/wire';
import ssh2, {
  type AnyAuthMethod,
  type AuthenticationType,
  type ParsedKey,
  type SignCallback,
  type SigningRequestOptions,
} from 'ssh2';
import { fingerprint, type HostKey, readHostKey } from './host-key.ts';
import { isParsedKey, type KeyFile, readKeyFile } from './key-file.ts';
import type { ResolvedHost } from './resolve.ts';

type IdentityCallback = (error: Error | null | undefined, keys?: ParsedKey[]) => void;

/** An ssh-agent whose keys come in the order in which OpenSSH tries them, and only those that it would try. */
class OrderedAgent extends ssh2.BaseAgent<ParsedKey> {
  readonly #agent: ssh2.OpenSSHAgent;
  readonly #order: (keys: readonly ParsedKey[]) => ParsedKey[];

  constructor(socket: string, order: (keys: readonly ParsedKey[]) => ParsedKey[]) {
    super();
    this.#agent = new ssh2.OpenSSHAgent(socket);
    this.#order = order;
  }

  override getIdentities(callback: IdentityCallback): void {
    this.#agent.getIdentities((error, keys) => {
      if (error || keys === undefined) callback(error ?? new Error('the agent gave no keys'));
      else callback(undefined, this.#order(keys.filter(isParsedKey)));
    });
  }

  override sign(
    key: ParsedKey,
    data: Buffer,
    options: SigningRequestOptions | SignCallback,
    callback?: SignCallback,
  ): void {
    if (typeof options === 'function') this.#agent.sign(key, data, options);
    else this.#agent.sign(key, data, options, callback);
  }
}

/**
 * One login by public keys in OpenSSH's order: the agent's keys that an IdentityFile names, the agent's others, then key
 * files. Remembers what it tried, so that a refusal can be understood.
 */
export class Authentication {
  readonly #host: ResolvedHost;
  readonly #files: readonly KeyFile[];
  readonly #queue: AnyAuthMethod[];
  readonly #tried: string[] = [];
  #agentHeld = new Set<string>();
  #agentError = false;
  #methods: readonly string[] = [];

  private constructor(host: ResolvedHost, files: readonly KeyFile[]) {
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
  }

  static async prepare(host: ResolvedHost): Promise<Authentication> {
    return new Authentication(host, await Promise.all(host.identityFiles.map(readKeyFile)));
  }

  /** For `authHandler` of ssh2: the next method to try, false when there is none. */
  readonly next = (methods: readonly AuthenticationType[] | null): AnyAuthMethod | false => {
    if (methods !== null) this.#methods = methods;
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
  };

  agentFailed(): void {
    this.#agentError = true;
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
