import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { join } from 'node:path';
import type { MachineName, StepKind, TimedFault } from './plan.ts';

/** What a client was for: a step of a story, or what the run itself asks. */
export type OperationKind =
  | StepKind
  | 'machine_up'
  | 'machine_down'
  | 'machine_check'
  | 'controller_stop'
  | 'last_result'
  | 'last_read'
  | 'last_list';

/** One client of ours from its start to its end. Times are epoch milliseconds on one monotonic clock. */
export interface Operation {
  readonly n: number;
  readonly kind: OperationKind;
  readonly args: readonly string[];
  readonly story?: string;
  readonly machine?: MachineName;
  readonly stream?: 'stdout' | 'stderr';
  readonly beganMs: number;
  readonly firstOutputMs?: number;
  readonly endedMs: number;
  readonly status?: number;
  readonly signal?: string;
  /** We ended it ourselves: what it printed may be cut anywhere. */
  readonly killed: boolean;
  /** It did not end by itself within `overdueMs`. */
  readonly overdue: boolean;
  /** We told it to detach. */
  readonly interrupted: boolean;
  readonly stderr: string;
}

/** What was done to the parts, when, and whether it met any. */
export interface Injected {
  readonly atMs: number;
  readonly fault: TimedFault['fault'] | { readonly kind: 'kill_shim'; readonly story: string };
  readonly met: string;
}

/** Everything that was asked and answered and done in a run: lines of JSON in `history.jsonl`, what clients printed in `printed/`. */
export class History {
  readonly folder: string;
  readonly operations: Operation[] = [];
  readonly injected: Injected[] = [];
  readonly #file: WriteStream;
  #count = 0;

  constructor(folder: string) {
    this.folder = folder;
    this.#file = createWriteStream(join(folder, 'history.jsonl'));
  }

  nextNumber(): number {
    return ++this.#count;
  }

  /** Where the client of operation `n` prints to. */
  printedPath(n: number): string {
    return join(this.folder, 'printed', String(n));
  }

  add(operation: Operation): void {
    this.operations.push(operation);
    this.#line(operation);
  }

  inject(injected: Injected): void {
    this.injected.push(injected);
    this.#line(injected);
  }

  async close(): Promise<void> {
    this.#file.end();
    await once(this.#file, 'close');
  }

  #line(value: unknown): void {
    this.#file.write(`${JSON.stringify(value)}\n`);
  }
}

/** Epoch milliseconds that never jump. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}
