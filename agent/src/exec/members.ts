import type { ProcessIdentity, ProcessStat, ProcessTable } from '@codex-remote/platform';

/** The processes of one job, as far as they can be told from others'. */
export interface JobProcesses {
  /** The job itself, leader of its session and group. Absent when it was never recorded. */
  readonly job: ProcessIdentity | undefined;
  readonly markName: string;
  readonly mark: string;
}

/** One look at the process table. */
export interface Look {
  /** Provably the job's. */
  readonly ours: readonly ProcessStat[];
  /** Sessions in which everything is the job's. */
  readonly sessions: ReadonlySet<number>;
  /** Pids in the session of the job by number only: the number can have been used again. */
  readonly unsure: readonly number[];
}

/**
 * Finds the members of one job again and again. Provable are:
 *
 *   - everything in the job's session, for as long as its number cannot be another's: the job is there (dead or alive),
 *     or a process with the mark is in it;
 *   - whatever carries the mark in its environment, and the session that such a process leads: nobody enters a session
 *     but by being born in it;
 *   - what was provable before, by pid and start time.
 *
 * A child is not ours for being a child: a daemon of ours that a job started is one until its caller ends. The shim
 * is in none of these, so ending a job never ends its record.
 */
export class Members {
  readonly #processes: JobProcesses;
  readonly #table: ProcessTable;
  readonly #known = new Set<string>();

  constructor(processes: JobProcesses, table: ProcessTable) {
    this.#processes = processes;
    this.#table = table;
  }

  look(): Look {
    const { job } = this.#processes;
    const all = this.#table.all();
    // After `all`: who is still there now was there all the time.
    const leader = job && this.#table.stat(job.pid);
    const sessions = new Set<number>();
    if (leader && leader.start === job.start) sessions.add(job.pid);
    const marked = new Set<ProcessStat>();
    for (const stat of all) {
      if (!this.#isMarked(stat)) continue;
      marked.add(stat);
      if (stat.session === stat.pid || stat.session === job?.pid) sessions.add(stat.session);
    }
    const ours = all.filter(
      (stat) => marked.has(stat) || sessions.has(stat.session) || this.#known.has(identityKey(stat)),
    );
    for (const stat of ours) this.#known.add(identityKey(stat));
    return { ours, sessions, unsure: this.#unsure(all, ours, leader) };
  }

  #isMarked(stat: ProcessStat): boolean {
    const { job, markName, mark } = this.#processes;
    // What is older than the job is no child of it: most environments need not be read.
    return (job === undefined || stat.start >= job.start) && this.#table.hasMark(stat.pid, markName, mark);
  }

  /** With a leader there is no doubt: it is the job, or the number is another's and nothing of the job's has it. */
  #unsure(
    all: readonly ProcessStat[],
    ours: readonly ProcessStat[],
    leader: ProcessStat | undefined,
  ): number[] {
    const { job } = this.#processes;
    if (!job || leader) return [];
    return all
      .filter((stat) => stat.session === job.pid && stat.start >= job.start && !ours.includes(stat))
      .map((stat) => stat.pid);
  }
}

/** Names one process of one boot. */
export function identityKey(stat: ProcessIdentity): string {
  return `${stat.pid}:${stat.start}`;
}
