import { type Answer, answerOf, oneLine, Resume, type WaitReply } from '@codex-remote/client';
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

/** A controller that has not answered so long after `--max-wait` is not waited for. */
const lateMs = 5_000;

interface Wanted {
  readonly ids: readonly string[];
  readonly mode: 'all' | 'any';
  readonly machine: string | undefined;
}

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
    const wanted: Wanted = { ids, mode: values.any ? 'any' : 'all', machine: values.machine };
    const maxWaitMs = values['max-wait'];
    const watchdog = new Watchdog({
      maxWaitMs: maxWaitMs === undefined ? undefined : maxWaitMs + lateMs,
      readerGone: context.output.readerGone,
    });
    try {
      const reply = await ended(context, wanted, maxWaitMs, watchdog.signal);
      return outcome(context, wanted, reply, values['tail-lines']);
    } catch (error) {
      if (error instanceof Detached) return detached(wanted, error);
      throw error;
    } finally {
      watchdog.close();
    }
  },
});

/** One request, answered when there is something to say; another only when a controller went away under it. */
async function ended(
  { client, clock }: Context,
  { ids, mode, machine }: Wanted,
  maxWaitMs: number | undefined,
  signal: AbortSignal,
): Promise<WaitReply> {
  const until = maxWaitMs === undefined ? Number.POSITIVE_INFINITY : clock.monotonic() + maxWaitMs;
  const resume = new Resume(clock, signal);
  for (;;) {
    try {
      const left = maxWaitMs === undefined ? undefined : Math.max(0, Math.round(until - clock.monotonic()));
      return await client.wait(ids, mode, left, { machine, signal });
    } catch (error) {
      await resume.after(error);
    }
  }
}

function outcome(context: Context, wanted: Wanted, reply: WaitReply, lines: number | undefined): Outcome {
  const views = reply.execs;
  const answers = views.map((view) => shownAnswer(context, view, lines));
  const human = () =>
    views
      .map((view, index) => answerText(view, answers[index] ?? answerOf(view, { now: 0, tails: 'none' })))
      .join('\n');
  const exit = exitOfMany(views, wanted.mode);
  if (answers.length === 1 && answers[0] !== undefined) return { value: answers[0], exit, human };
  return { value: { ok: true, execs: answers, ...nextOfMany(wanted, reply, answers) }, exit, human };
}

/** The same wait again where it is not over; else the one for those that still go on. */
function nextOfMany(
  wanted: Wanted,
  { done, execs }: WaitReply,
  answers: readonly Answer[],
): Pick<Answer, 'next_action' | 'next_command'> {
  const going = execs.filter(({ state }) => state.status === 'queued' || state.status === 'running');
  if (going.length > 0) {
    const ids = (done ? going : execs).map(({ state }) => state.exec_id);
    return { next_action: 'wait', next_command: `${waitLine({ ...wanted, ids })} --max-wait 50s` };
  }
  const other = answers.find(({ next_action }) => next_action !== 'done');
  return {
    next_action: other?.next_action ?? 'done',
    ...(other === undefined ? {} : { next_command: other.next_command }),
  };
}

function waitLine({ ids, mode, machine }: Wanted): string {
  const words = ids.map((id) => `--id ${id}`);
  if (machine !== undefined) words.push(`-m ${machine}`);
  if (mode === 'any' && ids.length > 1) words.push('--any');
  return `codex-remote exec wait ${words.join(' ')}`;
}

function detached(wanted: Wanted, { why }: Detached): Outcome {
  const { ids } = wanted;
  const next_command = waitLine(wanted);
  const value = {
    type: 'detached',
    ok: true,
    ...(ids.length === 1 ? { exec_id: ids[0] } : { exec_ids: ids }),
    next_action: 'wait',
    next_command,
    detached_by: why,
  };
  return { value, exit: exitCodes.unfinished, human: () => `it goes on; ${oneLine(next_command)}` };
}
