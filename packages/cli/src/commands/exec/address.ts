import type { Env } from '../../context.ts';
import { usage } from '../../table/bind.ts';

/** The ids of a command that takes some. Throws `usage` when there are none. */
export function idsOf(command: string, ids: readonly string[] | undefined): readonly string[] {
  if (ids === undefined || ids.length === 0)
    throw usage({ name: command }, `${command} needs an exec id: --id ID`);
  return [...new Set(ids)];
}

/** The one id of a command that takes one. */
export function idOf(command: string, id: string | undefined): string {
  if (id === undefined) throw usage({ name: command }, `${command} needs an exec id: --id ID`);
  return id;
}

/** The machine of a command that must have one. */
export function machineOf(command: string, machine: string | undefined, env: Env): string {
  const name = machine ?? env.CODEX_REMOTE_MACHINE;
  if (!name)
    throw usage({ name: command }, `${command} needs a machine: --machine NAME, or CODEX_REMOTE_MACHINE`);
  return name;
}
