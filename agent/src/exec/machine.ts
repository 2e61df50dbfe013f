import type { ProcessTable } from '@codex-remote/platform';
import type { Clock } from '@codex-remote/protocol/wire';

/** The machine that execs run on, in its present boot. */
export interface Machine {
  readonly table: ProcessTable;
  readonly clock: Clock;
  readonly hostId: string;
  readonly bootId: string;
  /** kill(2); throws as `process.kill` does. */
  readonly kill: (pid: number, signal: NodeJS.Signals) => void;
}
