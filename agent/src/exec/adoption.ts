import { readdirSync } from 'node:fs';
import type { Logger } from '@codex-remote/platform';
import { execIdPattern, isEnded } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { ExecFolder, type FolderSnapshot } from '../folder/folder.ts';
import type { Journal } from '../folder/journal.ts';
import type { StoredIdentity } from '../folder/stored.ts';
import type { Entries } from './entries.ts';
import { judge } from './judge.ts';
import type { Machine } from './machine.ts';
import { probeWithoutShim } from './supervisor.ts';
import type { Watches } from './watches.ts';

/** Where adopted execs go. */
export interface Adopters {
  readonly entries: Entries;
  readonly watches: Watches;
  /** Hears of what is damaged or cannot be read. */
  readonly log: Pick<Logger, 'warn'> | undefined;
}

/**
 * Reads each folder of `execs` once, at the agent's start: what runs is watched, the rest is judged. A folder that cannot
 * be read is no exec that is lost: it is read again whenever its exec is asked for, and its id stays taken.
 */
export function adoptAll(execs: string, machine: Machine, adopters: Adopters): void {
  for (const id of readdirSync(execs)) {
    if (!execIdPattern.test(id)) continue;
    const folder = new ExecFolder(execs, id);
    const read = (): void => adopt(folder, machine, adopters);
    try {
      read();
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error;
      adopters.log?.warn({ exec: id, err: error.message }, 'an exec cannot be read');
      adopters.entries.addUnread(id, read);
    }
  }
}

function adopt(folder: ExecFolder, machine: Machine, adopters: Adopters): void {
  const journal = folder.journal();
  keepIfBad(folder, 'journal', journal?.damage !== undefined, adopters);
  if (!journal?.end) return adoptUnjudged(folder, machine, adopters);
  const { end: state, acknowledged, acknowledgedMs } = journal;
  adopters.entries.add({
    ...{ folder, state, supervisor: undefined, acknowledged },
    ...(acknowledgedMs !== undefined && { acknowledgedMs }),
  });
}

function adoptUnjudged(folder: ExecFolder, machine: Machine, adopters: Adopters): void {
  const { table, bootId, hostId } = machine;
  const found = withIdentity(folder, folder.snapshot(), machine);
  keepIfBad(folder, 'exit', found.record?.damaged === true, adopters);
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
    adopters.watches.watch(folder, { ...found, journal: { ...found.journal, spec, identity } });
    return;
  }
  if (isEnded(state)) folder.note({ end: state });
  adopters.entries.add({ folder, state, supervisor: undefined, acknowledged: false });
}

/**
 * An identity that was damaged is found again by the job, whose pid and start time the shim recorded: its parent is the
 * waiter, in the session that the outer shell leads from the exec's folder. Without a waiter the job stands for the shim:
 * its exit goes unrecorded.
 */
function withIdentity(
  folder: ExecFolder,
  found: FolderSnapshot,
  { table, bootId, clock }: Machine,
): FolderSnapshot {
  const { journal, record } = found;
  const job = record?.job && table.isAlive(record.job) ? table.stat(record.job.pid) : undefined;
  if (!journal?.spec || journal.identity || journal.spec.boot_id !== bootId || !job) return found;
  const leader = table.stat(table.stat(job.parent)?.session ?? 0);
  const shim = leader && table.directory(leader.pid) === folder.path ? leader : job;
  const startedUptimeMs = job.start * tickMs;
  const identity: StoredIdentity = {
    shim: { pid: shim.pid, start: shim.start },
    started_ms: Math.round(clock.wall() - (table.uptimeMs() - startedUptimeMs)),
    started_uptime_ms: startedUptimeMs,
  };
  return { ...found, journal: { ...journal, identity } satisfies Journal };
}

/** Of the start times in /proc. */
const tickMs = 10;

function keepIfBad(folder: ExecFolder, name: 'journal' | 'exit', isBad: boolean, { log }: Adopters): void {
  if (!isBad || !folder.keepBad(name)) return;
  const path = folder.file(name);
  log?.warn(
    { exec: folder.id, path, kept: `${path}.bad` },
    'a state file is damaged: what is whole in it counts',
  );
}
