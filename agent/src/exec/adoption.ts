import { readdirSync } from 'node:fs';
import { execIdPattern, isEnded } from '@codex-remote/protocol/schema';
import { ExecFolder } from '../folder/folder.ts';
import type { Entries } from './entries.ts';
import { judge } from './judge.ts';
import type { Machine } from './machine.ts';
import { probeWithoutShim } from './supervisor.ts';
import type { Watches } from './watches.ts';

/** Where adopted execs go. */
export interface Adopters {
  readonly entries: Entries;
  readonly watches: Watches;
}

/** Reads each folder of `execs` once, at the agent's start: what runs is watched, the rest is judged. */
export function adoptAll(execs: string, machine: Machine, adopters: Adopters): void {
  for (const id of readdirSync(execs)) {
    if (!execIdPattern.test(id)) continue;
    const folder = new ExecFolder(execs, id);
    const journal = folder.journal();
    if (journal?.end) {
      const { end: state, acknowledged, acknowledgedMs } = journal;
      adopters.entries.add({
        ...{ folder, state, supervisor: undefined, acknowledged },
        ...(acknowledgedMs !== undefined && { acknowledgedMs }),
      });
    } else {
      adopt(folder, machine, adopters);
    }
  }
}

function adopt(folder: ExecFolder, machine: Machine, { entries, watches }: Adopters): void {
  const { table, bootId, hostId } = machine;
  const found = folder.snapshot();
  const { spec, identity } = found.journal ?? {};
  const sameBoot = spec?.boot_id === bootId && spec.host_id === hostId;
  const shimAlive = sameBoot && identity !== undefined && table.isAlive(identity.shim);
  const processes = shimAlive
    ? { shimAlive, shimSessionAlive: true, jobAlive: true }
    : sameBoot && identity
      ? probeWithoutShim(found, identity, table)
      : { shimAlive: false, shimSessionAlive: false, jobAlive: false };
  // Pumps that are still at it get their time, under a supervisor.
  const exitKnownMs = shimAlive ? 0 : Number.POSITIVE_INFINITY;
  const state = judge(found, { bootId, nowMs: machine.clock.wall(), exitKnownMs, ...processes }, hostId);
  if (!state) return;
  if (!isEnded(state) && found.journal && spec && identity) {
    watches.watch(folder, { ...found, journal: { ...found.journal, spec, identity } });
    return;
  }
  if (isEnded(state)) folder.note({ end: state });
  entries.add({ folder, state, supervisor: undefined, acknowledged: false });
}
