import { failpoint, type ProcessStat, type ProcessTable } from '@codex-remote/platform';
import type { SignalName } from '@codex-remote/protocol/schema';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import { identityKey, type JobProcesses, type Look, Members } from './members.ts';

export interface EndOptions {
  readonly table: ProcessTable;
  readonly clock: Clock;
  /** kill(2); throws as `process.kill` does. */
  readonly kill: (pid: number, signal: NodeJS.Signals) => void;
  /** A function: another one can be asked for while we wait. */
  readonly signal: () => SignalName;
  /** When KILL comes, on the monotonic clock. A function: it may become sooner while we wait. */
  readonly killAt: () => number;
  /** True: stop here, signal nothing more. */
  readonly stopped: () => boolean;
}

/** How long to look for what KILL does not end before it is called a leftover. */
const killPatienceMs = 2_000;
/** As long for what forks while it is being killed. */
const stormPatienceMs = 10_000;
const pollMs = 20;

/**
 * Ends a job: the signal to all that is provably its (see `Members`), a whole group by one kill(2), then KILL when
 * `killAt` has come. Returns when all are gone, or the pids of what could not be ended. What is not proven is reported
 * and not touched.
 */
export async function endProcesses(processes: JobProcesses, options: EndOptions): Promise<number[]> {
  const members = new Members(processes, options.table);
  const { clock, table, killAt, stopped } = options;
  const signalled = new Set<string>();
  for (;;) {
    const signal = options.signal();
    if (signal === 'KILL' || clock.monotonic() >= killAt() || stopped()) break;
    const look = await settledLook(members, options);
    if (look.ours.length === 0) return [...look.unsure];
    const fresh = look.ours.filter((stat) => !signalled.has(`${signal} ${identityKey(stat)}`));
    send(look, fresh, `SIG${signal}`, options);
    for (const stat of fresh) signalled.add(`${signal} ${identityKey(stat)}`);
    await until(
      clock,
      () =>
        options.signal() !== signal || clock.monotonic() >= killAt() || stopped() || !anyAlive(look, table),
    );
  }
  return kill(members, options);
}

/**
 * KILL until nothing is left. The first ends almost everything at once. What is there only afterwards forks faster than
 * it is killed: it is stopped, so that it keeps its place in the process table and forks no more, until nothing new
 * comes; then all is killed.
 */
async function kill(members: Members, options: EndOptions): Promise<number[]> {
  const { clock, table, stopped } = options;
  let firstKillAt = 0;
  const seen = new Set<string>();
  let patienceMs = killPatienceMs;
  for (let looks = 0; ; looks++) {
    const look = await settledLook(members, options);
    if (look.ours.length === 0 || stopped()) return pids(look);
    if (looks === 0) firstKillAt = clock.monotonic();
    const fresh = look.ours.filter((stat) => !seen.has(identityKey(stat)));
    for (const stat of fresh) seen.add(identityKey(stat));
    const storms = looks > 0 && fresh.length > 0;
    // Of a thousand processes a look takes its time: one that is new at the end of it has not withstood anything.
    if (storms) patienceMs = stormPatienceMs;
    const late = clock.monotonic() - firstKillAt >= patienceMs;
    if (storms && !late) {
      send(look, fresh, 'SIGSTOP', options);
      await pause(clock, 0);
      continue;
    }
    send(look, look.ours, 'SIGKILL', options);
    const untilMs = clock.monotonic() + pollMs;
    await until(clock, () => clock.monotonic() >= untilMs || stopped() || !anyAlive(look, table));
    if (late) return pids(await firstLook(members, options));
  }
}

function pids(look: Look): number[] {
  return [...look.ours.map((stat) => stat.pid), ...look.unsure];
}

/** In the middle of an execve(2) a process has no environment to read: what is not proven is looked at again. */
async function settledLook(members: Members, options: EndOptions): Promise<Look> {
  let look = await firstLook(members, options);
  for (let looks = 0; looks < 3 && look.ours.length === 0 && look.unsure.length > 0; looks++) {
    await pause(options.clock, pollMs);
    look = await firstLook(members, options);
  }
  return look;
}

/**
 * Once the system lets us look: out of descriptors, nobody is seen and nobody is gone. Throws what it says when we are to
 * stop.
 */
async function firstLook(members: Members, { clock, stopped }: EndOptions): Promise<Look> {
  for (;;) {
    try {
      return members.look();
    } catch (error) {
      if (!(error instanceof RemoteError) || stopped()) throw error;
      await pause(clock, pollMs);
    }
  }
}

/** Where it cannot be seen: yes. */
function anyAlive(look: Look, table: ProcessTable): boolean {
  try {
    return look.ours.some((stat) => table.isAlive(stat));
  } catch {
    return true;
  }
}

/** To each process once: where its session is the job's through its group, of which everything is the job's then. */
function send(
  look: Look,
  found: readonly ProcessStat[],
  signal: NodeJS.Signals,
  { table, kill }: EndOptions,
): void {
  failpoint(signal === 'SIGKILL' ? 'agent.kill.before' : 'agent.term.before');
  const groups = new Set<number>();
  for (const stat of found) {
    // The look is some milliseconds old: look again right before the signal.
    if (groups.has(stat.group) || !isSurelyAlive(stat, table)) continue;
    // Group 0 or 1 would be ours or everybody's for kill(2); they are of no session that a job leads.
    if (stat.group > 1 && look.sessions.has(stat.session)) {
      groups.add(stat.group);
      attempt(() => kill(-stat.group, signal));
    } else {
      attempt(() => kill(stat.pid, signal));
    }
  }
  failpoint(signal === 'SIGKILL' ? 'agent.kill.after' : 'agent.term.after');
}

function isSurelyAlive(stat: ProcessStat, table: ProcessTable): boolean {
  try {
    return table.isAlive(stat);
  } catch {
    return false;
  }
}

/** ESRCH: gone. EPERM: not ours to signal any more (setuid); it will be among the leftovers. */
function attempt(kill: () => void): void {
  try {
    kill();
  } catch {
    // Told by looking again.
  }
}

async function until(clock: Clock, reached: () => boolean): Promise<void> {
  while (!reached()) await pause(clock, pollMs);
}

function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => clock.setTimer(ms, resolve));
}
