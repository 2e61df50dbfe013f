import { failpoint, type ProcessIdentity, type ProcessStat, type ProcessTable } from '@codex-remote/platform';
import type { SignalName } from '@codex-remote/protocol/schema';
import type { Clock } from '@codex-remote/protocol/wire';

/** The processes of one job, as far as they can be told from others'. */
export interface JobProcesses {
  /** The job itself, leader of its session and group. Absent when it was never recorded. */
  readonly job: ProcessIdentity | undefined;
  readonly markName: string;
  readonly mark: string;
}

export interface EndOptions {
  readonly table: ProcessTable;
  readonly clock: Clock;
  /** kill(2); throws as `process.kill` does. */
  readonly kill: (pid: number, signal: NodeJS.Signals) => void;
  readonly signal: SignalName;
  /** From now to KILL. A function: it may become shorter while we wait. */
  readonly killAt: () => number;
  /** True: stop here, signal nothing more. */
  readonly stopped: () => boolean;
}

/** How long to look for what KILL does not end before it is called a leftover. */
const killPatienceMs = 2_000;
const pollMs = 20;

/**
 * Ends a job: the signal to its group by one kill(2) and to whatever else is provably its, then KILL when `killAt` has
 * come. Returns when all are gone, or the pids of what could not be ended.
 *
 * Provably: the job by pid and start time; members of its session while it lives; anything that carries the mark in its
 * environment. The shim carries none of these, so its record is never lost. What only has the job's session id after the
 * job's end is reported and not touched.
 */
export async function endProcesses(processes: JobProcesses, options: EndOptions): Promise<number[]> {
  const { clock, killAt, stopped } = options;
  const signalled = new Set<string>();
  while (options.signal !== 'KILL' && clock.monotonic() < killAt() && !stopped()) {
    const found = await settledMembers(processes, options);
    if (found.length === 0) return unproven(processes, options.table);
    const fresh = found.filter((stat) => !signalled.has(key(stat)));
    send(processes, fresh, `SIG${options.signal}`, options);
    for (const stat of fresh) signalled.add(key(stat));
    await goneOrLate(found, killAt, options);
  }
  const until = clock.monotonic() + killPatienceMs;
  for (;;) {
    const found = await settledMembers(processes, options);
    if (found.length === 0 || clock.monotonic() >= until || stopped()) {
      return [...found.map((stat) => stat.pid), ...unproven(processes, options.table)];
    }
    send(processes, found, 'SIGKILL', options);
    await goneOrLate(found, () => Math.min(until, clock.monotonic() + pollMs), options);
  }
}

/** In the middle of an execve(2) a process has no environment to read: what is not proven is looked at again. */
async function settledMembers(processes: JobProcesses, options: EndOptions): Promise<ProcessStat[]> {
  let found = members(processes, options.table);
  for (
    let looks = 0;
    looks < 3 && found.length === 0 && unproven(processes, options.table).length > 0;
    looks++
  ) {
    await pause(options.clock);
    found = members(processes, options.table);
  }
  return found;
}

function members(processes: JobProcesses, table: ProcessTable): ProcessStat[] {
  const { job } = processes;
  const session = job && table.isAlive(job) ? job.pid : undefined;
  return table.all().filter((stat) => {
    if (stat.session === session) return true;
    // What is older than the job is no child of it: most environments need not be read.
    const canBeOurs = job === undefined || stat.start >= job.start;
    return canBeOurs && table.hasMark(stat.pid, processes.markName, processes.mark);
  });
}

/** In the job's session by number only: the number can have been used again. */
function unproven(processes: JobProcesses, table: ProcessTable): number[] {
  const { job } = processes;
  if (!job || table.isAlive(job)) return [];
  return table
    .sessionMembers(job.pid)
    .filter((stat) => stat.start >= job.start && !table.hasMark(stat.pid, processes.markName, processes.mark))
    .map((stat) => stat.pid);
}

function send(
  processes: JobProcesses,
  found: readonly ProcessStat[],
  signal: NodeJS.Signals,
  options: EndOptions,
): void {
  failpoint(signal === 'SIGKILL' ? 'agent.kill.before' : 'agent.term.before');
  const leader = found.find((stat) => stat.pid === processes.job?.pid);
  const group = leader && leader.group === leader.pid ? leader.pid : undefined;
  if (group !== undefined) attempt(() => options.kill(-group, signal));
  for (const stat of found) {
    // The process table is some microseconds old: look again right before the signal.
    if (stat.group !== group && options.table.isAlive(stat)) attempt(() => options.kill(stat.pid, signal));
  }
  failpoint(signal === 'SIGKILL' ? 'agent.kill.after' : 'agent.term.after');
}

/** ESRCH: gone. EPERM: not ours to signal any more (setuid); it will be among the leftovers. */
function attempt(kill: () => void): void {
  try {
    kill();
  } catch {
    // Told by looking again.
  }
}

async function goneOrLate(
  found: readonly ProcessStat[],
  until: () => number,
  { table, clock, stopped }: EndOptions,
): Promise<void> {
  while (clock.monotonic() < until() && !stopped() && found.some((stat) => table.isAlive(stat))) {
    await pause(clock);
  }
}

function pause(clock: Clock): Promise<void> {
  return new Promise((resolve) => clock.setTimer(pollMs, resolve));
}

function key(stat: ProcessIdentity): string {
  return `${stat.pid}:${stat.start}`;
}
