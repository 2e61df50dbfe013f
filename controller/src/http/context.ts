import type { ControllerStatus } from '@codex-remote/protocol/schema';
import type { Clock } from '@codex-remote/protocol/wire';
import { nameOf, type Principal } from '../access/principal.ts';
import type { Tokens } from '../access/tokens.ts';
import type { Audit } from '../audit/audit-log.ts';
import type { Caller } from '../audit/entry.ts';
import type { Direct } from '../direct/direct.ts';
import type { Downloads } from '../enrolment/downloads.ts';
import type { Invitations } from '../enrolment/invitations.ts';
import type { Execs } from '../execs/execs.ts';
import type { Starts } from '../execs/starts.ts';
import type { Files } from '../files/files.ts';
import type { Machines } from '../machines/machines.ts';
import type { Prompts } from '../machines/prompts.ts';
import type { Git } from '../projects/git.ts';
import type { Projects } from '../projects/projects.ts';
import type { Sync } from '../sync/sync.ts';

/** What the routes call. */
export interface ApiContext {
  readonly execs: Execs;
  readonly files: Files;
  readonly sync: Sync;
  readonly projects: Projects;
  readonly git: Git;
  readonly starts: Starts;
  readonly machines: Machines;
  readonly prompts: Prompts;
  readonly invitations: Invitations;
  /** For hosts that were invited, which hold no token of the API. */
  readonly downloads: Downloads;
  readonly audit: Audit;
  readonly tokens: Tokens;
  /** How we are reached over the network. */
  readonly direct: Direct;
  readonly clock: Clock;
  readonly status: () => ControllerStatus;
  /** Stops the process once the answer is out. */
  readonly stop: () => void;
}

/** One request, not yet parsed. `signal` is aborted when the caller goes away. */
export interface ApiCall {
  /** Who asks, from its connection. The route's scope was checked before the handler is called. */
  readonly principal: Principal;
  /** Where the connection came from: `unix`, or the address of the other side. */
  readonly source: string;
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
  readonly signal: AbortSignal;
}

/** Who asks, in the words of the audit log. */
export function auditCaller({ principal, source }: Pick<ApiCall, 'principal' | 'source'>): Caller {
  return { principal: nameOf(principal), source };
}
