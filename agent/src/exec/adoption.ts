import { readdirSync } from 'node:fs';
import type { Logger } from '@codex-remote/platform';
import { type ExecState, execIdPattern, isEnded } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { ExecFolder, type FolderSnapshot } from '../folder/folder.ts';
import type { Journal, JournalGlance } from '../folder/journal.ts';
import type { StoredIdentity } from '../folder/stored.ts';
import type { Entries, Entry } from './entries.ts';
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
 * Looks at each folder of `execs` once, at the agent's start: what runs is watched, what was left without a verdict is
 * judged. A verdict that is there already is read when someone asks: an agent that holds thousands serves at once. A folder
 * that cannot be read is no exec that is lost: it is read again whenever its exec is asked for, and its id stays taken.
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
  const glance = folder.glance();
  if (glance) {
    adopters.entries.add(new EndedEntry(folder, machine, glance));
    if (glance.writersRemaining) adopters.watches.watchLogs(folder);
    return;
  }
  const journal = folder.journal();
  keepIfBad(folder, 'journal', journal?.damage !== undefined, adopters);
  if (!journal?.end) return adoptUnjudged(folder, machine, adopters);
  const { end: state, acknowledged, acknowledgedMs } = journal;
  adopters.entries.add({
    ...{ folder, state, supervisor: undefined, acknowledged },
    ...(acknowledgedMs !== undefined && { acknowledgedMs }),
  });
}

/** An exec that ended under an earlier agent. Holds no state in memory. */
class EndedEntry implements Entry {
  readonly folder: ExecFolder;
  readonly supervisor = undefined;
  acknowledged: boolean;
  declare acknowledgedMs?: number;
  readonly #machine: Machine;

  constructor(folder: ExecFolder, machine: Machine, { acknowledged, acknowledgedMs }: JournalGlance) {
    this.folder = folder;
    this.#machine = machine;
    this.acknowledged = acknowledged;
    if (acknowledgedMs !== undefined) this.acknowledgedMs = acknowledgedMs;
  }

  /** The verdict that stands; where its line has gone since, what the rest of the folder says. Throws `state_unusable`. */
  get state(): ExecState {
    const { bootId, hostId, clock } = this.#machine;
    const gone = { shimAlive: false, shimSessionAlive: false, jobAlive: false };
    const probe = { bootId, nowMs: clock.wall(), exitKnownMs: Number.POSITIVE_INFINITY, ...gone };
    const state = this.folder.journal()?.end ?? judge(this.folder.snapshot(), probe, hostId);
    if (state) return state;
    throw new RemoteError('state_unusable', `the folder of exec ${this.folder.id} is another host's now`);
  }
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
  if (found.journal && spec && identity) {
    const started = { ...found, journal: { ...found.journal, spec, identity } };
    adopters.watches.watch(folder, started, isEnded(state) ? { verdict: state } : {});
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
