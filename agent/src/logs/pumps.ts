import { fstatSync } from 'node:fs';
import type { ProcessIdentity, ProcessTable } from '@codex-remote/platform';

export interface PumpsOptions {
  readonly shim: ProcessIdentity;
  readonly table: ProcessTable;
  /** kill(2). Throws when there is no such process. */
  readonly kill: (pid: number, signal: 'SIGSTOP' | 'SIGCONT') => void;
}

/** What writes the logs of one exec: of each a shell and its `cat`, in the session of the shim, with the log as their output. */
export class Pumps {
  readonly #options: PumpsOptions;

  constructor(options: PumpsOptions) {
    this.#options = options;
  }

  /** Whoever writes to the pipe of the log that is open as `log` waits from now on. False when nobody writes the log. */
  hold(log: number): boolean {
    return this.#signal(log, 'SIGSTOP');
  }

  /** Harmless where nothing was held. */
  resume(log: number): void {
    this.#signal(log, 'SIGCONT');
  }

  #signal(log: number, signal: 'SIGSTOP' | 'SIGCONT'): boolean {
    const { shim, table, kill } = this.#options;
    const members = table.sessionMembers(shim.pid);
    // After the members: the number of the session was the shim's all the time.
    if (!table.isAlive(shim)) return false;
    const { ino, dev } = fstatSync(log);
    const pumps = members.filter((stat) => {
      const output = table.open(stat.pid, 1);
      return output?.ino === ino && output.dev === dev;
    });
    for (const { pid } of pumps) {
      try {
        kill(pid, signal);
      } catch {
        // It has ended meanwhile.
      }
    }
    return pumps.length > 0;
  }
}
