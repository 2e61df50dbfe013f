import type { Clock, RemoteError } from '@codex-remote/protocol/wire';
import { FailureLimit } from '../access/failure-limit.ts';
import { nameOf } from '../access/principal.ts';
import type { Audit } from '../audit/audit-log.ts';
import type { Caller } from './callers.ts';
import type { Route } from './routes.ts';

/** What known callers may not do and try, for the audit log: of each the first ones of a minute. */
export class RefusedCallers {
  readonly #audit: Audit;
  readonly #limit: FailureLimit;

  constructor(audit: Audit, clock: Clock) {
    this.#audit = audit;
    this.#limit = new FailureLimit(clock, (principal) => principal);
  }

  /** It is refused whatever becomes of the note. */
  async note({ principal, source }: Caller, { method, url }: Route, cause: RemoteError): Promise<void> {
    const who = nameOf(principal);
    const counted = this.#limit.count(who);
    if (counted === 'over') return;
    const entry = {
      principal: who,
      source,
      verb: `${method} ${url}`,
      result: 'refused',
      reason: `${cause.code}: ${cause.message}`,
      ...(counted === 'last' && { facts: { silenced: true } }),
    } as const;
    await this.#audit.record(entry).catch(() => undefined);
  }
}
