import type { Evidence, Violation } from './evidence.ts';
import type { MachineName } from './plan.ts';

/** One job of a queue that has run. */
export interface Turn {
  readonly story: string;
  readonly machine: MachineName;
  /** Seconds since the boot, by the job itself. The end is not known of a job that was ended. */
  readonly startedAt: number;
  readonly endedAt?: number;
  /** When it was first sent, and when somebody first had its acceptance, epoch milliseconds. */
  readonly sentMs: number;
  readonly acceptedMs: number;
}

/** None for a job without a queue, or one that nobody was told about before it ended up running. */
export function turnOf({ story, truth, printed, answers }: Evidence): Turn[] {
  const [start] = truth.starts;
  if (!story.shape.queued || !start) return [];
  const sends = printed.flatMap(({ operation: { kind, beganMs } }) =>
    kind === 'run' || kind === 'start' || kind === 'altered' ? [beganMs] : [],
  );
  return [
    {
      story: story.id,
      machine: story.machine,
      startedAt: start.at,
      ...(truth.exitAt !== undefined && { endedAt: truth.exitAt }),
      sentMs: Math.min(...sends),
      acceptedMs: Math.min(...answers.map(({ toMs }) => toMs)),
    },
  ];
}

/** The queue lets one run at a time, in the order in which they were accepted. Pure. */
export function checkTurns(turns: readonly Turn[]): Violation[] {
  const found: Violation[] = [];
  const add = (rule: string, turn: Turn, what: string): void =>
    void found.push({ rule, story: turn.story, operations: [], what });
  for (const one of turns) {
    for (const other of turns) {
      if (one === other || one.machine !== other.machine) continue;
      if (one.startedAt <= other.startedAt && one.endedAt !== undefined && other.startedAt < one.endedAt)
        add(
          'one_at_a_time',
          other,
          `started at ${other.startedAt}, and ${one.story} ended at ${one.endedAt}`,
        );
      if (one.acceptedMs < other.sentMs && other.startedAt < one.startedAt)
        add('order_is_kept', other, `started before ${one.story}, which was accepted before this was sent`);
    }
  }
  return found;
}
