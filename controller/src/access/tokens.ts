import type { Socket } from 'node:net';
import { failpoint, type Logger } from '@codex-remote/platform';
import type { TokenCreate, TokenView } from '@codex-remote/protocol/schema';
import { type Clock, RemoteError, type Timer } from '@codex-remote/protocol/wire';
import { Low } from 'lowdb';
import { z } from 'zod';
import { DurableJson } from '../registry/durable-json.ts';
import { FailureLimit, failureWindowMs } from './failure-limit.ts';
import { maxConnectionsEach, OpenConnections } from './open-connections.ts';
import { nameOf, type Principal, type TokenPrincipal } from './principal.ts';
import { holdsAllOf, machineOf, parseScope } from './scopes.ts';
import {
  judge,
  newSecret,
  statusOf,
  type TokenRecord,
  type TokenRefusal,
  tokenRecord,
  viewOfToken,
} from './token-record.ts';
import { unauthorized } from './unauthorized.ts';

/** How long a token holds where nobody says otherwise. */
export const defaultTokenMs = 30 * 24 * 60 * 60 * 1000;
/** A token that has ended is remembered for so long, so that the list and the log can say what it was. */
const rememberedMs = 30 * 24 * 60 * 60 * 1000;
/** Tokens that are kept, ended ones included. */
const maxTokens = 1000;
/** Uses wait so long for each other before they are written: no request waits for a disk. */
const lastUseMs = 10_000;
/** How often open connections are looked through for tokens that have expired. */
const expiryLookMs = 1_000;

const document = z.object({ version: z.literal(1), tokens: z.array(tokenRecord) });
type Document = z.infer<typeof document>;

/** What became of a token, for log and audit. */
export interface TokenEvent {
  readonly what: 'created' | 'revoked' | 'used' | TokenRefusal;
  /** Absent where what was sent is no token of ours. */
  readonly tokenId?: string;
  /** Who did it, for `created` and `revoked`. */
  readonly by?: Principal;
  /** Where that came from: `unix`, or an address. */
  readonly from: string;
  /** Further failures of this address are not told one by one. */
  readonly silenced?: boolean;
}

export interface TokensOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** `created` and `revoked` wait for it. A use is told when it comes from another address than the one before. */
  readonly record?: (event: TokenEvent) => Promise<void>;
}

/** The tokens by which callers of the network are known. One file, written by this process alone. */
export class Tokens {
  readonly #db: Low<Document>;
  readonly #options: TokensOptions;
  readonly #failures: FailureLimit;
  readonly #connections = new OpenConnections();
  /** Revoked, and not known to be so on disk and in the audit log. */
  readonly #unwritten = new Set<string>();
  #writing: Promise<void> = Promise.resolve();
  #lastUse: Timer | undefined;
  #expiry: Timer | undefined;

  private constructor(db: Low<Document>, options: TokensOptions) {
    this.#db = db;
    this.#options = options;
    this.#failures = new FailureLimit(options.clock);
  }

  /** Throws `state_unusable`. */
  static async open(path: string, options: TokensOptions): Promise<Tokens> {
    const file = new DurableJson(path, document, {
      name: 'file of tokens',
      before: () => failpoint('controller.tokens.before'),
      after: () => failpoint('controller.tokens.after'),
      lost: 'make the tokens again',
    });
    const db = new Low<Document>(file, { version: 1, tokens: [] });
    await db.read();
    return new Tokens(db, options);
  }

  /**
   * A new token, durable when it resolves; `token` is its only copy. Nobody gives more than he has, nor for longer. Throws
   * `usage`, `forbidden`, `too_large` where there are too many.
   */
  async create(maker: Principal, from: string, wanted: TokenCreate): Promise<TokenView & { token: string }> {
    const { clock } = this.#options;
    const now = clock.wall();
    checkScopes(wanted);
    const { id, token, sha256 } = newSecret(now);
    const made: Principal = {
      kind: 'token',
      id,
      scopes: wanted.scopes,
      ...(wanted.machines && { machines: wanted.machines }),
    };
    if (!holdsAllOf(maker, made))
      throw new RemoteError('forbidden', `forbidden: ${nameOf(maker)} gives no more than it has itself`, {
        sent: 'no',
        hint: 'make it on the host of the controller',
      });
    const expiresAt = this.#endOf(maker, wanted.ttl_ms, now);
    const record: TokenRecord = {
      id,
      sha256,
      ...(wanted.label !== undefined && { label: wanted.label }),
      scopes: [...new Set(wanted.scopes)],
      ...(wanted.machines && { machines: [...new Set(wanted.machines)] }),
      created_at: iso(now),
      created_by: nameOf(maker),
      ...(expiresAt !== undefined && { expires_at: iso(expiresAt) }),
    };
    await this.#change(({ tokens }) => {
      const kept = tokens.filter((known) => !forgotten(known, now));
      if (kept.length >= maxTokens)
        throw new RemoteError('too_large', `there are ${maxTokens} tokens already`, {
          hint: 'revoke some: codex-remote token list',
        });
      return { version: 1, tokens: [...kept, record] };
    });
    await this.#tell({ what: 'created', tokenId: id, by: maker, from });
    return { ...viewOfToken(record, now), token };
  }

  list(): TokenView[] {
    const now = this.#options.clock.wall();
    return this.#db.data.tokens.map((record) => viewOfToken(record, now));
  }

  /** Ends a token and every connection that it has authenticated, at once; durable when it resolves. Throws `unknown_token`. */
  async revoke(by: Principal, from: string, id: string): Promise<TokenView> {
    const record = this.#recordOf(id);
    if (!record)
      throw new RemoteError('unknown_token', `there is no token ${JSON.stringify(id.slice(0, 40))}`, {
        hint: 'codex-remote token list shows the ids',
        sent: 'no',
      });
    if (record.revoked_at === undefined) {
      // In memory first: from here on nobody is let in by it, whatever becomes of the disk.
      record.revoked_at = iso(this.#options.clock.wall());
      this.#unwritten.add(id);
      this.#connections.end(id);
    }
    // Also for who asks again after a failure: a token that is revoked in memory alone holds again for the next process.
    if (this.#unwritten.has(id)) {
      await this.#change((data) => data);
      await this.#tell({ what: 'revoked', tokenId: id, by, from });
      this.#unwritten.delete(id);
    }
    return viewOfToken(record, this.#options.clock.wall());
  }

  /**
   * Who holds this token. Its connection ends when the token does. Throws `unauthorized` in the same words whatever is wrong
   * with it, and `too_many_failures` to an address that has failed too often; a token that holds is never refused for that, but
   * with `fds_exhausted` where it has too many connections.
   */
  authenticate(token: string | undefined, socket: Socket): TokenPrincipal {
    const { clock } = this.#options;
    const now = clock.wall();
    const from = socket.remoteAddress ?? 'gone';
    const { record, refusal } = judge(token, (id) => this.#recordOf(id), now);
    if (!record || refusal) throw this.#refuse(refusal ?? 'token_unknown', record?.id, from);
    if (!this.#connections.add(record.id, socket))
      throw new RemoteError('fds_exhausted', `the token has ${maxConnectionsEach} connections already`, {
        sent: 'no',
        hint: 'end some `--follow` and `watch` of it, or use another token',
      });
    record.last_used_at = iso(now);
    if (record.last_used_from !== from) this.#note({ what: 'used', tokenId: record.id, from });
    record.last_used_from = from;
    this.#lastUse ??= clock.setTimer(lastUseMs, () => this.#writeUses());
    this.#expiry ??= clock.setTimer(expiryLookMs, () => this.#endExpired());
    const { id, scopes, machines } = record;
    return { kind: 'token', id, scopes, ...(machines && { machines }) };
  }

  /** What is known of last uses is written. */
  async close(): Promise<void> {
    this.#expiry?.cancel();
    const waits = this.#lastUse !== undefined;
    this.#lastUse?.cancel();
    if (waits) await this.#change((data) => data).catch(() => undefined);
    await this.#writing;
  }

  #refuse(what: TokenRefusal, tokenId: string | undefined, from: string): RemoteError {
    const counted = this.#failures.count(from);
    if (counted === 'over')
      return new RemoteError('too_many_failures', 'too many requests of this address had no good token', {
        sent: 'no',
        hint: `wait ${failureWindowMs / 1000} s; a good token is let in meanwhile`,
      });
    const event = {
      what,
      from,
      ...(tokenId !== undefined && { tokenId }),
      ...(counted === 'last' && { silenced: true }),
    };
    this.#note(event);
    return unauthorized();
  }

  #endOf(maker: Principal, ttlMs: TokenCreate['ttl_ms'], now: number): number | undefined {
    const own = maker.kind === 'token' ? this.#recordOf(maker.id)?.expires_at : undefined;
    const latest = own === undefined ? undefined : Date.parse(own);
    const wanted = ttlMs === 'none' ? undefined : now + (ttlMs ?? defaultTokenMs);
    if (latest === undefined || (wanted !== undefined && wanted <= latest)) return wanted;
    // Nobody asked for it to outlive its maker.
    if (ttlMs === undefined) return latest;
    throw new RemoteError('forbidden', `forbidden: ${nameOf(maker)} ends before that, at ${own}`, {
      sent: 'no',
      hint: 'give a shorter --ttl, or make it on the host of the controller',
    });
  }

  #recordOf(id: string): TokenRecord | undefined {
    return this.#db.data.tokens.find((record) => record.id === id);
  }

  /** Connections of tokens whose time has passed end; looks on while there are connections. */
  #endExpired(): void {
    const { clock } = this.#options;
    this.#expiry = undefined;
    for (const id of this.#connections.tokens()) {
      const record = this.#recordOf(id);
      if (!record || statusOf(record, clock.wall()) !== 'active') this.#connections.end(id);
    }
    if (this.#connections.tokens().length > 0)
      this.#expiry = clock.setTimer(expiryLookMs, () => this.#endExpired());
  }

  #writeUses(): void {
    this.#lastUse = undefined;
    this.#change((data) => data).catch((error: unknown) => {
      this.#options.log.warn({ err: RemoteError.from(error).message }, 'last uses of tokens not written');
    });
  }

  /** One write at a time. What `change` answers holds once it is on disk. */
  #change(change: (data: Document) => Document): Promise<void> {
    const written = this.#writing.then(async () => {
      const next = change(this.#db.data);
      await this.#db.adapter.write(next);
      this.#db.data = next;
    });
    this.#writing = written.catch(() => undefined);
    return written;
  }

  /** Nobody waits for it. */
  #note(event: TokenEvent): void {
    void this.#tell(event).catch((error: unknown) => {
      this.#options.log.warn({ err: RemoteError.from(error).message }, 'not in the audit log');
    });
  }

  async #tell(event: TokenEvent): Promise<void> {
    const { by, ...rest } = event;
    this.#options.log.info({ ...rest, ...(by && { by: nameOf(by) }) }, 'token');
    await this.#options.record?.(event);
  }
}

/** Throws `usage` for a combination that says nothing, or not what it seems to. */
function checkScopes({ scopes, machines }: TokenCreate): void {
  for (const text of scopes) {
    const grant = parseScope(text);
    if (machines === undefined) continue;
    if (grant.scope === 'admin')
      throw new RemoteError('usage', 'admin is not limited to machines: it manages all of them', {
        sent: 'no',
        hint: 'leave --machine out, or give other scopes',
      });
    const machine = machineOf(grant);
    if (machine !== undefined && !machines.includes(machine))
      throw new RemoteError('usage', `${text} is for none of the machines that the token is limited to`, {
        sent: 'no',
        hint: `add --machine ${machine}, or leave --machine out`,
      });
  }
}

function forgotten({ revoked_at, expires_at }: TokenRecord, now: number): boolean {
  const ended = revoked_at ?? expires_at;
  return ended !== undefined && now >= Date.parse(ended) + rememberedMs;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
