/** Time, passed in: `protocol` starts no timers of its own. */
export interface Clock {
  /** Milliseconds on a clock that never jumps. */
  monotonic(): number;
  /** Milliseconds since the epoch, for people; may jump. */
  wall(): number;
  /** Runs once after `ms`; the caller owns the handle and cancels it on every path. */
  setTimer(ms: number, run: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}
