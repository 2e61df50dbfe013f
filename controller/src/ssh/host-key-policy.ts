import { RemoteError } from '@codex-remote/protocol/wire';
import { appendKnownHost } from './accept-host-key.ts';
import { fingerprint, type HostKey, signatureAlgorithms } from './host-key.ts';
import { KnownHosts, knownHostName } from './known-hosts.ts';
import type { ResolvedHost } from './resolve.ts';

/** What became of a presented key. `store`: write it down once the host has proved that it has it. */
export type HostKeyDecision =
  | { readonly trusted: true; readonly store: boolean }
  | { readonly trusted: false; readonly error: RemoteError };

/** A decision that somebody should hear of: a key that was refused, or one that was not known and is now. */
export interface HostKeyEvent {
  readonly decision: 'accepted' | 'unknown' | 'changed' | 'revoked';
  readonly facts: Readonly<Record<string, string | number>>;
}

/** The user's rules for one host's key: known_hosts, StrictHostKeyChecking and the fingerprint given on the command line. */
export class HostKeyPolicy {
  readonly #host: ResolvedHost;
  readonly #known: KnownHosts;
  readonly #accepted: string | undefined;
  readonly #told: ((event: HostKeyEvent) => void) | undefined;
  /** As OpenSSH looks them up: with the port, then without. */
  readonly #names: readonly string[];

  private constructor(
    host: ResolvedHost,
    known: KnownHosts,
    accepted: string | undefined,
    told: ((event: HostKeyEvent) => void) | undefined,
  ) {
    this.#host = host;
    this.#known = known;
    this.#accepted = accepted;
    this.#told = told;
    this.#names =
      host.hostKeyAlias === undefined
        ? [...new Set([knownHostName(host.host, host.port), knownHostName(host.host, 22)])]
        : [host.hostKeyAlias.toLowerCase()];
  }

  /** Reads the host's known_hosts files. `told` hears of refusals, and of keys that are stored. Throws `ssh_config_invalid`. */
  static async read(
    host: ResolvedHost,
    accepted?: string,
    told?: (event: HostKeyEvent) => void,
  ): Promise<HostKeyPolicy> {
    return new HostKeyPolicy(
      host,
      await KnownHosts.read([...host.userKnownHostsFiles, ...host.globalKnownHostsFiles]),
      accepted,
      told,
    );
  }

  /** Host certificates are the only thing known of this host: the system's ssh must judge it. */
  get onlyAuthorities(): boolean {
    return this.#known.hasAuthority(this.#names) && this.#known.keyTypes(this.#names).length === 0;
  }

  /** The algorithms to offer, those that can prove a known key first; else a host with several keys shows one nobody knows. */
  order(algorithms: readonly string[]): readonly string[] {
    const preferred = new Set(this.#known.keyTypes(this.#names).flatMap(signatureAlgorithms));
    return [
      ...algorithms.filter((name) => preferred.has(name)),
      ...algorithms.filter((name) => !preferred.has(name)),
    ];
  }

  /** The same key always gets the same answer, at the first exchange and at every later one. */
  decide(key: HostKey): HostKeyDecision {
    const decision = this.#decide(key);
    // A connection ends with its first refusal.
    if (!decision.trusted) this.#told?.({ decision: refusalOf(decision.error), facts: this.#facts(key) });
    return decision;
  }

  #decide(key: HostKey): HostKeyDecision {
    const verdict = this.#known.lookup(this.#names, key);
    if (verdict.kind === 'match') return { trusted: true, store: false };
    if (verdict.kind === 'revoked')
      return { trusted: false, error: this.#error(key, 'revoked', verdict.places) };
    if (verdict.kind === 'changed')
      return { trusted: false, error: this.#error(key, 'changed', verdict.places, verdict.known) };
    const { strictHostKeyChecking } = this.#host;
    const willing = strictHostKeyChecking === 'accept-new' || strictHostKeyChecking === 'no';
    if (willing || this.#accepted === fingerprint(key)) return { trusted: true, store: true };
    return { trusted: false, error: this.#unknown(key, verdict.otherTypes) };
  }

  /** Writes a key down that `decide` said to store. Throws `ssh_config_invalid`. */
  async store(key: HostKey): Promise<void> {
    const [path] = this.#host.userKnownHostsFiles;
    const [name] = this.#names;
    if (path === undefined || name === undefined) return;
    await appendKnownHost(path, name, key, this.#host.hashKnownHosts);
    this.#told?.({ decision: 'accepted', facts: this.#facts(key) });
  }

  get #title(): string {
    return `${this.#host.host} port ${this.#host.port}`;
  }

  #unknown(key: HostKey, otherTypes: readonly string[]): RemoteError {
    const shown = fingerprint(key);
    const other =
      this.#accepted === undefined ? '' : `, which is not the accepted ${this.#accepted.slice(0, 100)}`;
    return new RemoteError(
      'host_key_unknown',
      `the host key of ${this.#title} is not known: ${key.type} ${shown}${other}`,
      {
        hint: `compare it with \`ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub\` on the host, then repeat with --accept-host-key ${shown}`,
        facts: { ...this.#facts(key), ...(otherTypes.length > 0 ? { known_key_types: otherTypes } : {}) },
      },
    );
  }

  #error(
    key: HostKey,
    what: 'changed' | 'revoked',
    places: readonly string[],
    known: readonly string[] = [],
  ): RemoteError {
    const [name = this.#host.host] = this.#names;
    const message =
      what === 'revoked'
        ? `the host key of ${this.#title} is revoked by ${places.join(', ')}: ${key.type} ${fingerprint(key)}`
        : `the host key of ${this.#title} has changed: it shows ${key.type} ${fingerprint(key)}, known is ${known.join(', ')} (${places.join(', ')})`;
    const hint =
      what === 'revoked'
        ? 'the owner of the host must give it another key'
        : `ask the owner whether the host was reinstalled; only then \`ssh-keygen -R '${name}'\` and accept the new key`;
    return new RemoteError('host_key_changed', message, {
      hint,
      facts: { ...this.#facts(key), places, ...(known.length > 0 ? { known } : {}) },
    });
  }

  #facts(key: HostKey): Record<string, string | number> {
    return {
      host: this.#host.host,
      port: this.#host.port,
      key_type: key.type,
      fingerprint: fingerprint(key),
    };
  }
}

function refusalOf(error: RemoteError): HostKeyEvent['decision'] {
  if (error.code === 'host_key_unknown') return 'unknown';
  return error.details.facts?.known === undefined ? 'revoked' : 'changed';
}
