import type { ProcessIdentity, ProcessTable } from '@codex-remote/platform';

/**
 * The shell that waits at the gate of a shim, or is on its way from there to the job, whose pid and start time it keeps:
 * a child of the shim's session that leads one of its own. Undefined when the shim's outer shell is gone: then nothing
 * proves the session.
 */
export function shellAtGate(shim: ProcessIdentity, table: ProcessTable): ProcessIdentity | undefined {
  const all = table.all();
  if (!table.isAlive(shim)) return undefined;
  const inSession = new Set(all.filter((stat) => stat.session === shim.pid).map((stat) => stat.pid));
  return all.find(
    (stat) => stat.session === stat.pid && !inSession.has(stat.pid) && inSession.has(stat.parent),
  );
}
