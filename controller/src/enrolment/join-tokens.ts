import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { failpoint, type Logger, newId } from '@codex-remote/platform';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import { FailureLimit } from '../access/failure-limit.ts';
import { stranger } from '../gateway/stranger.ts';
import type { Invite, MachineRecord, Registry } from '../registry/registry.ts';

/** From the invitation to the last moment at which its token lets a machine in, in milliseconds. */
export const joinTokenMs = 10 * 60 * 1000;
/** A token that is over is remembered for so long, so that the log can say why it was refused. */
const rememberedMs = 24 * 60 * 60 * 1000;
/** Invitations of one machine that are remembered, in any state. */
const maxInvites = 32;

const secretBytes = 32;
const tokenPattern = /^([0-9a-z]{20})\.([A-Za-z0-9_-]{43})$/;

/** `id.secret`, shown once. */
export interface IssuedToken {
  readonly id: string;
  readonly token: string;
  /** Epoch ms. */
  readonly expiresAt: number;
}

/** Why a token lets nobody in. For log and audit alone: whoever came hears `unauthorized`, whatever it was. */
export type JoinRefusal =
  | 'token_transport'
  | 'token_unknown'
  | 'token_wrong'
  | 'token_scope'
  | 'token_revoked'
  | 'token_expired'
  | 'token_used';

/** An agent that has proven its key and brings a token. */
export interface JoinAttempt {
  readonly machine: string;
  /** Public key of the agent, 32 bytes, base64url. */
  readonly agentKey: string;
  readonly hostId: string;
  readonly token: string;
  /** Where it came from, as this side of the connection sees it. */
  readonly peer: string;
  /** It came over TLS whose exporter its proof covers: the only way on which a token counts. */
  readonly bound: boolean;
}

/** What became of an attempt. */
export interface JoinOutcome {
  /** Absent where what was sent is no token. */
  readonly tokenId?: string;
  readonly machine: string;
  readonly keyFingerprint: string;
  readonly peer: string;
  /** `requested`: the token is about to be used up. `again`: this key is the machine's already. */
  readonly result: 'requested' | 'enrolled' | 'again' | JoinRefusal;
  /** Further refusals of this address are not told one by one. */
  readonly silenced?: boolean;
}

/** A token that holds, not yet used. */
export interface JoinClaim {
  /** Uses it up for this agent: durable when it resolves. Throws `unauthorized` where another was quicker. */
  consume(): Promise<void>;
}

export interface JoinTokensOptions {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly log: Logger;
  /** Told of attempts, of guesses so many a minute and address; nobody is let in before it is told of. */
  readonly record?: (outcome: JoinOutcome) => Promise<void>;
}

/**
 * One-time tokens by which a machine that nobody can dial becomes one of ours. They live in the record of their machine: a
 * use is one write of the registry, which has the token used and the agent's key known, or neither.
 *
 * A secret has 256 random bits, so its plain SHA-256 cannot be searched for and needs neither salt nor stretching; who reads
 * the registry learns no token from it.
 */
export class JoinTokens {
  readonly #options: JoinTokensOptions;
  readonly #failures: FailureLimit;

  constructor(options: JoinTokensOptions) {
    this.#options = options;
    this.#failures = new FailureLimit(options.clock);
  }

  /** A new token for a registered machine. Throws `unknown_machine`. */
  async issue(machine: string, ttlMs = joinTokenMs): Promise<IssuedToken> {
    const { registry, clock } = this.#options;
    const now = clock.wall();
    const id = newId(now);
    const secret = randomBytes(secretBytes).toString('base64url');
    const invite: Invite = { id, sha256: sha256(secret).toString('hex'), expires_at: iso(now + ttlMs) };
    await registry.commit(machine, ({ invites = [] }) => ({
      invites: [...invites.filter((kept) => !this.#forgotten(kept)), invite].slice(-maxInvites),
    }));
    return { id, token: `${id}.${secret}`, expiresAt: now + ttlMs };
  }

  /** Lets no token of the machine in any more that has not been used; how many those were. Throws `unknown_machine`. */
  async revoke(machine: string): Promise<number> {
    const { registry, clock } = this.#options;
    let revoked = 0;
    await registry.commit(machine, ({ invites = [] }) => {
      revoked = invites.filter((invite) => this.#open(invite)).length;
      return { invites: this.#revoked(invites, iso(clock.wall())) };
    });
    return revoked;
  }

  /** The machine of a token that is still within its time, used or not: what it may download. */
  machineOf(id: string): { machine: string; expiresAt: number } | undefined {
    const found = this.#find(id);
    if (!found || found.invite.revoked_at !== undefined || this.#expired(found.invite)) return undefined;
    return { machine: found.machine.name, expiresAt: Date.parse(found.invite.expires_at) };
  }

  /** Looks at a token without using it up. Throws `unauthorized`, with the same words for every reason. */
  async claim(attempt: JoinAttempt): Promise<JoinClaim> {
    const { registry } = this.#options;
    if (attempt.bound && registry.get(attempt.machine)?.installation?.agent_key === attempt.agentKey) {
      // A reply that was lost: the token has done its work, and the key is what counts.
      await this.#tell(attempt, 'again');
      return { consume: () => Promise.resolve() };
    }
    const refusal = this.#judge(attempt);
    if (refusal) throw await this.#refuse(attempt, refusal);
    return { consume: () => this.#consume(attempt) };
  }

  async #consume(attempt: JoinAttempt): Promise<void> {
    const { registry, clock } = this.#options;
    let refusal = this.#judge(attempt);
    if (refusal) throw await this.#refuse(attempt, refusal);
    // Once the key is the machine's it needs no token any more: where this cannot be recorded it does not become so.
    await this.#tell(attempt, 'requested');
    failpoint('controller.join_token.before');
    try {
      await registry.commit(attempt.machine, (machine) => {
        refusal = this.#judge(attempt);
        if (refusal) throw stranger();
        const now = iso(clock.wall());
        const id = parse(attempt.token)?.id;
        return {
          // The machine is there: what else was handed out for it is of no use to anybody who means well.
          invites: this.#revoked(machine.invites, now).map((invite) =>
            invite.id === id ? { ...usable(invite), used_by: attempt.agentKey, used_at: now } : invite,
          ),
          installation: { agent_key: attempt.agentKey, host_id: attempt.hostId, connection: 'direct' },
          down_at: undefined,
        };
      });
    } catch (error) {
      // The machine was removed since: its tokens went with it.
      if (RemoteError.from(error).code === 'unknown_machine') refusal = 'token_unknown';
      throw refusal ? await this.#refuse(attempt, refusal) : error;
    }
    failpoint('controller.join_token.after');
    await this.#tell(attempt, 'enrolled');
  }

  /** Undefined where it holds. The secret is compared first and in constant time, for an id that nobody knows too. */
  #judge({ token, machine, bound }: JoinAttempt): JoinRefusal | undefined {
    const said = parse(token);
    const found = said && this.#find(said.id);
    const expected = found ? Buffer.from(found.invite.sha256, 'hex') : Buffer.alloc(secretBytes);
    const right = timingSafeEqual(expected, sha256(said?.secret ?? ''));
    if (!bound) return 'token_transport';
    if (!found) return 'token_unknown';
    if (!right) return 'token_wrong';
    if (found.machine.name !== machine) return 'token_scope';
    if (found.invite.revoked_at !== undefined) return 'token_revoked';
    if (found.invite.used_by !== undefined) return 'token_used';
    return this.#expired(found.invite) ? 'token_expired' : undefined;
  }

  #find(id: string): { machine: MachineRecord; invite: Invite } | undefined {
    for (const machine of this.#options.registry.list()) {
      const invite = machine.invites?.find((known) => known.id === id);
      if (invite) return { machine, invite };
    }
    return undefined;
  }

  #revoked(invites: readonly Invite[] = [], now: string): Invite[] {
    return invites.map((invite) => (this.#open(invite) ? { ...invite, revoked_at: now } : invite));
  }

  #open(invite: Invite): boolean {
    return invite.used_by === undefined && invite.revoked_at === undefined && !this.#expired(invite);
  }

  #expired({ expires_at }: Invite): boolean {
    return this.#options.clock.wall() >= Date.parse(expires_at);
  }

  #forgotten({ expires_at }: Invite): boolean {
    return this.#options.clock.wall() >= Date.parse(expires_at) + rememberedMs;
  }

  /** Whoever has no token can be refused as often as he likes: he does not fill log and audit by it. */
  async #refuse(attempt: JoinAttempt, refusal: JoinRefusal): Promise<RemoteError> {
    const isRace = refusal === 'token_used' && this.machineOf(parse(attempt.token)?.id ?? '') !== undefined;
    const counted = isRace ? 'within' : this.#failures.count(attempt.peer);
    if (counted !== 'over') await this.#tell(attempt, refusal, counted === 'last');
    return stranger();
  }

  async #tell(attempt: JoinAttempt, result: JoinOutcome['result'], silenced = false): Promise<void> {
    const { log, record } = this.#options;
    const id = parse(attempt.token)?.id;
    const outcome: JoinOutcome = {
      ...(id === undefined ? {} : { tokenId: id }),
      machine: attempt.machine,
      keyFingerprint: fingerprint(attempt.agentKey),
      peer: attempt.peer,
      result,
      ...(silenced && { silenced }),
    };
    log.info(outcome, 'enrolment');
    await record?.(outcome);
  }
}

function usable({ revoked_at: _, ...invite }: Invite): Invite {
  return invite;
}

/** As OpenSSH writes those of its keys. */
export function fingerprint(agentKey: string): string {
  const digest = createHash('sha256').update(Buffer.from(agentKey, 'base64url')).digest('base64');
  return `SHA256:${digest.replace(/=+$/, '')}`;
}

function parse(token: string): { id: string; secret: string } | undefined {
  const [, id, secret] = tokenPattern.exec(token) ?? [];
  return id === undefined || secret === undefined ? undefined : { id, secret };
}

function sha256(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
