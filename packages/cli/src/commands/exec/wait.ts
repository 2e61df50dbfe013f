import { answerOf, oneLine, Resume } from '@codex-remote/client';
import type { ExecView } from '@codex-remote/protocol/schema';
import type { Context } from '../../context.ts';
import { exitCodes, exitOfMany } from '../../exit.ts';
import type { Outcome } from '../../outcome.ts';
import { Detached, Watchdog } from '../../signals.ts';
import { usage } from '../../table/bind.ts';
import { command } from '../../table/command.ts';
import { machineFlag, manyIds, maxWait, tailLines } from '../../table/shared.ts';
import { idsOf } from './address.ts';
import { answerText } from './render.ts';
import { shownAnswer } from './result.ts';
import { allFlag, anyFlag } from './watch.ts';

/** One request waits so long; then the next one does. */
const oneWaitMs = 60_000;

export const execWait = command({
  name: 'exec wait',
  summary: 'Wait for the end of an exec, without its output.',
  description:
    "Exits with the command's own code, 75 when --max-wait ran out. With several: 1 where one is not 0; --any: the code of the first.",
  flags: {
    id: manyIds,
    machine: machineFlag,
    any: anyFlag,
    all: allFlag,
    'max-wait': maxWait,
    'tail-lines': { ...tailLines, aliases: ['tail'] },
  },
  positional: 'id',
  examples: [
    ['for at most 50 s', 'exec wait --id ID --max-wait 50s'],
    ['for both', 'exec wait --id ID --id ID2 --all'],
  ],
  async run(values, context) {
    const ids = idsOf('exec wait', values.id);
    if (values.any && values.all) throw usage({ name: 'exec wait' }, '--any and --all exclude each other');
    const mode = values.any ? 'any' : 'all';
    const watchdog = new Watchdog({ readerGone: context.output.readerGone });
    try {
      const views = await ended(context, ids, mode, values.machine, values['max-wait'], watchdog.signal);
      return outcome(context, views, mode, values['tail-lines']);
    } catch (error) {
      if (error instanceof Detached) return detached(ids);
      throw error;
    } finally {
      watchdog.close();
    }
  },
});

async function ended(
  { client, clock }: Context,
  ids: readonly string[],
  mode: 'all' | 'any',
  machine: string | undefined,
  maxWaitMs: number | undefined,
  signal: AbortSignal,
): Promise<ExecView[]> {
  const until = maxWaitMs === undefined ? Number.POSITIVE_INFINITY : clock.monotonic() + maxWaitMs;
  const resume = new Resume(clock, signal);
  for (;;) {
    try {
      const left = Math.max(0, until - clock.monotonic());
      const { execs, done } = await client.wait(ids, mode, Math.round(Math.min(oneWaitMs, left)), {
        machine,
        signal,
      });
      resume.received();
      if (done || clock.monotonic() >= until) return execs;
    } catch (error) {
      await resume.after(error);
    }
  }
}

function outcome(
  context: Context,
  views: readonly ExecView[],
  mode: 'all' | 'any',
  lines: number | undefined,
): Outcome {
  const answers = views.map((view) => shownAnswer(context, view, lines));
  const human = () =>
    views
      .map((view, index) => answerText(view, answers[index] ?? answerOf(view, { now: 0, tails: 'none' })))
      .join('\n');
  const exit = exitOfMany(views, mode);
  if (answers.length === 1 && answers[0] !== undefined) return { value: answers[0], exit, human };
  const waiting = answers.find(({ next_action }) => next_action !== 'done');
  return {
    value: {
      ok: true,
      execs: answers,
      next_action: waiting?.next_action ?? 'done',
      ...(waiting === undefined ? {} : { next_command: waiting.next_command }),
    },
    exit,
    human,
  };
}

function detached(ids: readonly string[]): Outcome {
  const next_command = `codex-remote exec wait ${ids.map((id) => `--id ${id}`).join(' ')}`;
  const value = {
    type: 'detached',
    ok: true,
    ...(ids.length === 1 ? { exec_id: ids[0] } : { exec_ids: ids }),
    next_action: 'wait',
    next_command,
    detached_by: 'signal',
  };
  return { value, exit: exitCodes.unfinished, human: () => `it goes on; ${oneLine(next_command)}` };
}
