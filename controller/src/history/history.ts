import type { ExecReport, ExecState } from '@codex-remote/protocol/schema';

/** An exec as it was last known, with the time at which that was true at its machine. */
export interface HistoryEntry {
  readonly machine: string;
  readonly report: ExecReport;
  readonly as_of: string;
}

export interface HistoryFilter {
  readonly machine?: string;
  /** Only of these; absent: of all. */
  readonly machines?: readonly string[] | undefined;
  readonly status?: readonly ExecState['status'][];
  readonly label?: string;
  readonly session?: string;
  /** Accepted at or after / before, epoch ms. */
  readonly since_ms?: number;
  readonly until_ms?: number;
  readonly limit: number;
  /** Ended ones that ended before this are left out, unless `since_ms` asks for them. Epoch ms. */
  readonly ended_after_ms: number;
}

/**
 * What every exec of this controller was last known to be. A cache of the machines' own records, but the only answer
 * while a machine is away. An interface, because several controllers will have to share it one day.
 */
export interface History {
  /** Seen by the next read, durable when the promise resolves; reports that come together share one transaction. */
  record(machine: string, reports: readonly ExecReport[]): Promise<void>;
  get(machine: string, execId: string): HistoryEntry | undefined;
  /** Everything of these machines (undefined: of all) whose id is `idOrPrefix` or, where nothing is, begins with it; at most `limit`. */
  find(idOrPrefix: string, machines: readonly string[] | undefined, limit: number): HistoryEntry[];
  /** Queued and running first, then newest first. */
  list(filter: HistoryFilter): { entries: HistoryEntry[]; total: number };
  forgetMachine(machine: string): void;
  close(): void;
}
