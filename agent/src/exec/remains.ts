import { execMarkName } from '@codex-remote/platform';
import type { SignalName } from '@codex-remote/protocol/schema';
import type { ExecFolder } from '../folder/folder.ts';
import { endProcesses } from './cancel.ts';
import type { Machine } from './machine.ts';

/**
 * Ends what an exec that has ended left running: servers in the background, a fork bomb. Its state stays as it is. Returns
 * the pids of what could not be ended. Nothing is touched of an exec of another boot or host: its pids say nothing here.
 */
export async function endRemains(
  folder: ExecFolder,
  machine: Machine,
  signal: SignalName,
  graceMs: number,
  stopped: () => boolean,
): Promise<number[]> {
  const { table, clock, kill, bootId, hostId } = machine;
  const spec = folder.journal()?.spec;
  if (spec?.boot_id !== bootId || spec.host_id !== hostId) return [];
  const killAt = clock.monotonic() + (signal === 'KILL' ? 0 : graceMs);
  return endProcesses(
    { job: folder.record()?.job, markName: execMarkName, mark: spec.mark },
    { table, clock, kill, signal: () => signal, killAt: () => killAt, stopped },
  );
}
