import type { Clock } from '@codex-remote/protocol/wire';

/** The clock of this process. Timers hold the process open; their owner cancels them. */
export const systemClock: Clock = {
  // `performance` would be loaded for it, half a millisecond of a short command.
  monotonic() {
    const [seconds, nanoseconds] = process.hrtime();
    return seconds * 1e3 + nanoseconds / 1e6;
  },
  wall: () => Date.now(),
  setTimer(ms, run) {
    const handle = setTimeout(run, ms);
    return { cancel: () => clearTimeout(handle) };
  },
};
