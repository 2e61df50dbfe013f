import type { Clock, Timer } from '@codex-remote/protocol/wire';
import type { HolePuncher } from '../logs/hole-puncher.ts';
import { type KeptLogs, LogKeeper, type LogReserve } from '../logs/log-keeper.ts';
import { isDrained } from './judge.ts';

/** After something was written to a log: many writes are one look. */
const touchMs = 100;
/** Behind the folders' watches, and for what is written after an exec's end. */
const pollMs = 2_000;

/** One exec as `LogLimits` has it. */
interface Kept {
  readonly keeper: LogKeeper;
  readonly logs: KeptLogs;
  /** Its verdict is there: it is kept for as long as something in the background may write. */
  ended: boolean;
  /** Looked at for the last time. */
  last: boolean;
  touched: boolean;
}

/** Tells that an exec's logs have grown, or that it has ended. */
export interface LogLimitWatch {
  touch(): void;
  /** What is left in its pipes does not wait for room. */
  exited(): void;
  end(): void;
}

/** Keeps the logs of every exec that can write within their limits. The owner closes it, the puncher is closed with it. */
export class LogLimits {
  readonly #clock: Clock;
  readonly #puncher: HolePuncher;
  readonly #reserve: LogReserve;
  readonly #kept = new Set<Kept>();
  #touch: Timer | undefined;
  #poll: Timer | undefined;
  #closed = false;

  constructor(clock: Clock, puncher: HolePuncher, reserve: LogReserve) {
    this.#clock = clock;
    this.#puncher = puncher;
    this.#reserve = reserve;
  }

  keep(logs: KeptLogs): LogLimitWatch {
    const kept: Kept = {
      keeper: new LogKeeper(logs, this.#puncher, this.#reserve),
      logs,
      ended: false,
      last: false,
      touched: false,
    };
    this.#kept.add(kept);
    this.#lookSometimes();
    return {
      touch: () => {
        kept.touched = true;
        this.#touch ??= this.#closed ? undefined : this.#clock.setTimer(touchMs, () => this.#lookAtTouched());
      },
      exited: () => kept.keeper.exited(),
      end: () => {
        kept.ended = true;
        kept.keeper.exited();
        void kept.keeper.look();
      },
    };
  }

  /** Execs go on; the next agent looks after their logs. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#touch?.cancel();
    this.#poll?.cancel();
    for (const { keeper } of this.#kept) keeper.close();
    this.#puncher.close();
  }

  #lookAtTouched(): void {
    this.#touch = undefined;
    for (const kept of this.#kept) {
      if (kept.touched) void kept.keeper.look();
      kept.touched = false;
    }
  }

  #lookSometimes(): void {
    if (this.#kept.size === 0 || this.#closed) return;
    this.#poll ??= this.#clock.setTimer(pollMs, () => {
      this.#poll = undefined;
      for (const kept of this.#kept) {
        if (kept.last) continue;
        if (kept.ended && !canWrite(kept.logs)) void this.#drop(kept);
        else void kept.keeper.look();
      }
      this.#lookSometimes();
    });
  }

  async #drop(kept: Kept): Promise<void> {
    kept.last = true;
    // One look may have begun before the last byte was written.
    await kept.keeper.look();
    await kept.keeper.look();
    kept.keeper.close();
    this.#kept.delete(kept);
  }
}

/** False once every pump has written everything, and when the folder was removed. */
function canWrite({ folder }: KeptLogs): boolean {
  try {
    const snapshot = folder.snapshot();
    return snapshot.record !== undefined && !isDrained(snapshot);
  } catch {
    // It cannot be read now.
    return true;
  }
}
