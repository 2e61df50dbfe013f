/** When a finished exec may go. The oldest go first; one that runs or is not acknowledged never goes. */
export interface RetentionLimits {
  readonly maxCount: number;
  readonly maxAgeMs: number;
  /** Output and artifacts of all finished execs together. */
  readonly maxTotalBytes: number;
}

export const defaultRetention: RetentionLimits = Object.freeze({
  maxCount: 2_000,
  maxAgeMs: 14 * 24 * 3600 * 1000,
  maxTotalBytes: 20 * 1024 ** 3,
});

export interface EndedExec {
  readonly id: string;
  readonly endedMs: number;
  /** When the controller learned of the end: after a long absence its age counts from there. */
  readonly acknowledgedMs: number;
  readonly bytes: number;
}

/** Which of the ended and acknowledged execs are over a limit. Pure. */
export function overRetention(ended: readonly EndedExec[], limits: RetentionLimits, nowMs: number): string[] {
  const newestFirst = [...ended].sort((a, b) => b.endedMs - a.endedMs);
  let total = 0;
  return newestFirst
    .filter((exec, index) => {
      total += exec.bytes;
      return (
        index >= limits.maxCount ||
        nowMs - Math.max(exec.endedMs, exec.acknowledgedMs) > limits.maxAgeMs ||
        total > limits.maxTotalBytes
      );
    })
    .map((exec) => exec.id);
}
