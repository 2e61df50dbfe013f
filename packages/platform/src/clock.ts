import type { Clock } from '@codex-remote/protocol/wire';

/** The clock of this process. Timers hold the process open; their owner cancels them. */
export const systemClock: Clock = {
  monotonic: () => performance.now(),
  wall: () => Date.now(),
  setTimer(ms, run) {
    const handle = setTimeout(run, ms);
    return { cancel: () => clearTimeout(handle) };
  },
};
