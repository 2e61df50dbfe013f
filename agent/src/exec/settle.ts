import type { Logger } from '@codex-remote/platform';
import type { ArtifactsState, ExecEnded, WorktreeState } from '@codex-remote/protocol/schema';
import type { Clock } from '@codex-remote/protocol/wire';
import type { ExecFolder } from '../folder/folder.ts';
import type { StoredIdentity, StoredSpec } from '../folder/stored.ts';

/** An exec whose job is over, however it ended, and has not been told to be. */
export interface EndedJob {
  readonly folder: ExecFolder;
  readonly spec: StoredSpec;
  readonly identity: StoredIdentity;
  /** How it ended: its verdict but for what is added to that. */
  readonly end: ExecEnded;
}

/** What is told together with the verdict. */
export interface Settled {
  readonly artifacts?: ArtifactsState;
  readonly worktree?: WorktreeState;
  readonly warnings?: readonly string[];
}

/**
 * Something that is done between the end of a job and its verdict. An exec that never ran has nothing to settle: who holds
 * something for such a one hears of its end by `Entries.onChange`.
 */
export interface SettleStep {
  /** One word, for the log and for the warning `NAME_unsettled`. */
  readonly name: string;
  /** Whether this exec has it. Most have not, and wait for this answer: it is quick, and counts as yes after `lookMs`. */
  isNeeded(job: EndedJob): boolean | Promise<boolean>;
  /**
   * Done again where an agent died before the verdict was on disk: the second time gives what the first would have given.
   * `signal` is aborted, with a `CutReason`, when the step's time is over, when a cancel wants the end now, and when the agent
   * stops. Then it returns soon with what it has; what it returns to an agent that stops is nobody's.
   */
  settle(job: EndedJob, signal: AbortSignal): Promise<Settled>;
}

export type CutReason = 'time' | 'cancel' | 'stop';

export interface SettleLimits {
  /** For the question whether there is something to do. */
  readonly lookMs: number;
  /** For each step: for so long an exec can stay `running` after its job. */
  readonly stepMs: number;
  /** Until a step that was told to stop is left to itself, as where a file system does not answer. */
  readonly stopMs: number;
}

export const defaultSettleLimits: SettleLimits = Object.freeze({
  lookMs: 1_000,
  stepMs: 60_000,
  stopMs: 1_000,
});

export interface SettlerOptions {
  readonly steps: readonly SettleStep[];
  readonly clock: Clock;
  readonly log?: Pick<Logger, 'warn'> | undefined;
  readonly limits?: SettleLimits | undefined;
}

/** What follows the end of one job, under way. */
export interface Settling {
  /** Never rejects: a verdict waits for it. */
  readonly settled: Promise<Settled>;
  /** What is left of it is cut short; idempotent. */
  cut(why: 'cancel' | 'stop'): void;
}

/** The steps between the end of a job and its verdict, in their order, and their limits of time. */
export class Settler {
  readonly #steps: readonly SettleStep[];
  readonly #clock: Clock;
  readonly #log: Pick<Logger, 'warn'> | undefined;
  readonly #limits: SettleLimits;

  constructor({ steps, clock, log, limits = defaultSettleLimits }: SettlerOptions) {
    this.#steps = steps;
    this.#clock = clock;
    this.#log = log;
    this.#limits = limits;
  }

  /** Undefined where it is known at once that there is nothing to do. `begins` is called before the first step that is done. */
  begin(job: EndedJob, begins: () => void): Settling | undefined {
    const asked = this.#steps.map((step) => ({ step, needed: isNeeded(step, job) }));
    if (asked.every(({ needed }) => needed === false)) return undefined;
    const stop = new AbortController();
    return { settled: this.#settle(asked, job, begins, stop.signal), cut: (why) => stop.abort(why) };
  }

  async #settle(
    asked: readonly Asked[],
    job: EndedJob,
    begins: () => void,
    cut: AbortSignal,
  ): Promise<Settled> {
    const needed = await Promise.all(asked.map((one) => this.#look(one)));
    const steps = asked.flatMap(({ step }, index) => (needed[index] ? [step] : []));
    if (steps.length > 0) begins();
    let settled: Settled = {};
    for (const step of steps) settled = merged(settled, await this.#step(step, job, cut));
    return settled;
  }

  async #look({ needed }: Asked): Promise<boolean> {
    if (typeof needed === 'boolean') return needed;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const late = this.#clock.setTimer(this.#limits.lookMs, () => resolve(true));
    try {
      return await Promise.race([needed, promise]);
    } catch {
      return true;
    } finally {
      late.cancel();
    }
  }

  async #step(step: SettleStep, job: EndedJob, cut: AbortSignal): Promise<Settled> {
    const due = new AbortController();
    const late = this.#clock.setTimer(this.#limits.stepMs, () => due.abort('time' satisfies CutReason));
    const stop = AbortSignal.any([cut, due.signal]);
    const left = Promise.withResolvers<undefined>();
    const patience = onAbort(stop, () =>
      this.#clock.setTimer(this.#limits.stopMs, () => left.resolve(undefined)),
    );
    try {
      const settled = await Promise.race([step.settle(job, stop), left.promise]);
      if (settled) return settled;
      this.#warn(job, step, 'it did not stop when it was told to');
    } catch (error) {
      this.#warn(job, step, String(error));
    } finally {
      late.cancel();
      patience.cancel();
    }
    return { warnings: [`${step.name}_unsettled`] };
  }

  #warn({ folder }: EndedJob, { name }: SettleStep, err: string): void {
    this.#log?.warn({ exec: folder.id, step: name, err }, 'a step after the end of an exec failed');
  }
}

interface Asked {
  readonly step: SettleStep;
  readonly needed: boolean | Promise<boolean>;
}

/** A step that cannot tell is done: it says itself what is in its way. */
function isNeeded(step: SettleStep, job: EndedJob): boolean | Promise<boolean> {
  try {
    const needed = step.isNeeded(job);
    // It may come to nothing before anybody waits for it.
    if (typeof needed !== 'boolean') needed.catch(() => undefined);
    return needed;
  } catch {
    return true;
  }
}

/** Calls `act` once `signal` is aborted. `cancel` ends that, and cancels what `act` gave. */
function onAbort(signal: AbortSignal, act: () => { cancel(): void }): { cancel(): void } {
  let done: { cancel(): void } | undefined;
  const aborted = (): void => {
    done = act();
  };
  if (signal.aborted) aborted();
  else signal.addEventListener('abort', aborted, { once: true });
  return {
    cancel: () => {
      signal.removeEventListener('abort', aborted);
      done?.cancel();
    },
  };
}

function merged(before: Settled, found: Settled): Settled {
  const warnings = [...(before.warnings ?? []), ...(found.warnings ?? [])];
  return { ...before, ...found, ...(warnings.length > 0 && { warnings }) };
}
