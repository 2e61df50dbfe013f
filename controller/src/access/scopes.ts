import { namePattern } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { Principal } from './principal.ts';

/**
 * What a token can be given. `exec:run`, `files:read` and `files:write` may name a machine, `sync:write` a project:
 * `exec:run:gpu`.
 */
export const scopes = [
  'machines:read',
  'exec:run',
  'exec:read',
  'logs:read',
  'files:read',
  'files:write',
  'sync:write',
  'admin',
] as const;
export type Scope = (typeof scopes)[number];

/**
 * What else comes with a scope. Who runs commands on a machine reads there what every command of that account reads: the
 * logs of all its execs are files of it. A log belongs to an exec, and is found by it. Files come with no other scope, though:
 * where a policy limits what may be run, they would be a way around it.
 */
const includes: Readonly<Record<Scope, readonly Scope[]>> = {
  'machines:read': [],
  'exec:run': ['logs:read', 'exec:read', 'machines:read'],
  'exec:read': [],
  'logs:read': ['exec:read'],
  'files:read': ['machines:read'],
  'files:write': ['files:read', 'machines:read'],
  'sync:write': [],
  admin: scopes,
};

interface Grant {
  readonly scope: Scope;
  /** A machine, or for `sync:write` a project; absent: every one. */
  readonly target?: string;
}

/** The machines (for `sync:write`: the projects) on which somebody may do something. */
export class Reach {
  static readonly everything = new Reach(undefined);
  static readonly nothing = new Reach([]);

  /** Undefined: all that there are and will be. */
  readonly names: readonly string[] | undefined;

  constructor(names: readonly string[] | undefined) {
    this.names = names;
  }

  has(name: string): boolean {
    return this.names?.includes(name) ?? true;
  }

  get isNothing(): boolean {
    return this.names?.length === 0;
  }

  and(other: Reach): Reach {
    return this.names === undefined || other.names === undefined
      ? Reach.everything
      : new Reach([...new Set([...this.names, ...other.names])]);
  }

  /** Whether everything in `other` is in here too. */
  covers(other: Reach): boolean {
    return this.names === undefined || (other.names?.every((name) => this.has(name)) ?? false);
  }
}

/** Scopes that can be given for one machine. */
const ofMachine: ReadonlySet<Scope> = new Set(['exec:run', 'files:read', 'files:write']);

/** Throws `usage` for a word that is no scope. */
export function parseScope(text: string): Grant {
  const scope = scopes.find((known) => text === known || text.startsWith(`${known}:`));
  const target = scope !== undefined && text.length > scope.length ? text.slice(scope.length + 1) : undefined;
  const mayName = scope !== undefined && (ofMachine.has(scope) || scope === 'sync:write');
  if (scope === undefined || (target !== undefined && !(mayName && namePattern.test(target))))
    throw new RemoteError('usage', `${JSON.stringify(text.slice(0, 80))} is not a scope`, {
      hint: `a scope is one of ${scopes.join(', ')}; exec:run:MACHINE, files:read:MACHINE, files:write:MACHINE and sync:write:PROJECT give it there alone`,
      sent: 'no',
    });
  return target === undefined ? { scope } : { scope, target };
}

/** The machine that a scope names, where it is about one. */
export function machineOf({ scope, target }: Grant): string | undefined {
  return ofMachine.has(scope) ? target : undefined;
}

/** Where `principal` may do what `scope` names. */
export function reachOf(principal: Principal, scope: Scope): Reach {
  if (principal.kind === 'local') return Reach.everything;
  return principal.scopes.reduce((reach, text) => {
    const grant = parseScope(text);
    if (grant.scope !== scope && !includes[grant.scope].includes(scope)) return reach;
    return reach.and(limited(grant, principal.machines));
  }, Reach.nothing);
}

function limited({ scope, target }: Grant, machines: readonly string[] | undefined): Reach {
  if (scope === 'admin') return Reach.everything;
  const named = target === undefined ? undefined : [target];
  if (scope === 'sync:write' || machines === undefined) return new Reach(named);
  return new Reach((named ?? machines).filter((name) => machines.includes(name)));
}

/** The machines that somebody may know of. For everybody else they are not there. */
export function seenBy(principal: Principal): Reach {
  return reachOf(principal, 'machines:read').and(reachOf(principal, 'exec:read'));
}

/** What `Execs` asks of a caller; undefined where it may everything. */
export function execRights(principal: Principal) {
  if (principal.kind === 'local') return undefined;
  return {
    seen: reachOf(principal, 'exec:read'),
    logs: reachOf(principal, 'logs:read'),
    run: reachOf(principal, 'exec:run'),
    refuse: (scope: Scope, machine: string) => forbidden(principal, scope, machine),
  };
}

/** Whether `principal` holds everything that `other` would: nobody gives more than he has. */
export function holdsAllOf(principal: Principal, other: Principal): boolean {
  return scopes.every((scope) => reachOf(principal, scope).covers(reachOf(other, scope)));
}

/** The caller is known, and this is not for it. */
export function forbidden(principal: Principal, scope: Scope, machine?: string): RemoteError {
  const wanted = ofMachine.has(scope) && machine !== undefined ? `${scope}:${machine}` : scope;
  const who = principal.kind === 'token' ? `the token ${principal.id}` : 'the caller';
  return new RemoteError('forbidden', `forbidden: ${who} does not have the scope ${wanted}`, {
    sent: 'no',
    hint: `who runs the controller gives one that has it: codex-remote token create --scope ${wanted}`,
    ...(machine === undefined ? {} : { machine }),
  });
}
