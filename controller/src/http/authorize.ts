import { RemoteError } from '@codex-remote/protocol/wire';
import type { Principal, TokenPrincipal } from '../access/principal.ts';
import { forbidden, reachOf, seenBy } from '../access/scopes.ts';
import { unknownMachine } from '../registry/nearest.ts';
import type { Route } from './routes.ts';

/**
 * The one check between a caller and every handler. Default deny: what a route's scope does not give is refused, with
 * `forbidden`; a machine that the caller may not know of is `unknown_machine`, in the very words for one that does not exist.
 * `machines`: every machine that there is.
 */
export function authorize(
  route: Pick<Route, 'scope' | 'url' | 'orOfProject'>,
  principal: Principal,
  request: { params: unknown; query: unknown },
  machines: () => readonly string[],
): void {
  if (principal.kind === 'local' || route.scope === 'any') return;
  if (route.scope === 'local')
    throw new RemoteError('forbidden', 'forbidden: this is for the host of the controller itself', {
      sent: 'no',
      hint: 'run it there, as the user of the controller',
    });
  if (route.orOfProject && isForProject(route.orOfProject, principal, request)) {
    const machine = machineOf(route.url, request);
    // Its holder may know of no machine.
    if (machine === undefined || !machines().includes(machine) || !isLetTo(principal, machine))
      throw unknownMachine(machine ?? '', []);
    return;
  }
  const reach = reachOf(principal, route.scope);
  if (reach.isNothing) throw forbidden(principal, route.scope);
  const machine = machineOf(route.url, request);
  if (machine === undefined) return;
  const seen = seenBy(principal);
  const known = machines().filter((name) => seen.has(name));
  if (!known.includes(machine)) throw unknownMachine(machine, known);
  if (!reach.has(machine)) throw forbidden(principal, route.scope, machine);
}

function isForProject(
  scope: 'sync:write',
  principal: TokenPrincipal,
  { query }: { query: unknown },
): boolean {
  const project = field(query, 'project');
  return typeof project === 'string' && reachOf(principal, scope).has(project);
}

function isLetTo({ machines }: TokenPrincipal, machine: string): boolean {
  return machines?.includes(machine) ?? true;
}

/** The machine that a request names in its path or query. */
function machineOf(url: string, { params, query }: { params: unknown; query: unknown }): string | undefined {
  const named = url.includes('/:name') ? field(params, 'name') : field(query, 'machine');
  if (named === undefined || typeof named === 'string') return named;
  throw new RemoteError('usage', 'the request is not valid: machine is given twice');
}

function field(source: unknown, name: string): unknown {
  return typeof source === 'object' && source !== null ? Reflect.get(source, name) : undefined;
}
