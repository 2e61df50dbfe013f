import { answerOf } from '@codex-remote/client';
import type { CancelReply } from '@codex-remote/protocol/schema';
import { confirm } from '../../confirm.ts';
import type { Context } from '../../context.ts';
import { failureOf, stderrLine } from '../../errors.ts';
import { exitCodes } from '../../exit.ts';
import type { Outcome } from '../../outcome.ts';
import { command } from '../../table/command.ts';
import { flagSwitch, one } from '../../table/flag.ts';
import { connectWait, defaultConnectWaitMs, machineFlag, manyIds } from '../../table/shared.ts';
import * as read from '../../table/values.ts';
import { idsOf } from './address.ts';
import { oneLineOf } from './render.ts';

const defaultGraceMs = 10_000;

export const execCancel = command({
  name: 'exec cancel',
  summary: 'End an exec: a signal, a grace, then KILL.',
  description:
    'Returns when its processes are gone, or names what could not be ended (leftover_pids). Of an exec that has ended already, what it left running is ended; that is no failure.',
  flags: {
    id: manyIds,
    machine: machineFlag,
    signal: one(read.oneOf(['INT', 'TERM', 'KILL']), 'NAME', 'the first signal: INT, TERM (default), KILL'),
    grace: one(read.duration, 'TIME', 'between the signal and KILL (default 10s)'),
    yes: flagSwitch('cancel more than one without asking'),
    'connect-wait': connectWait,
  },
  positional: 'id',
  examples: [
    ['TERM, then KILL after 10 s', 'exec cancel --id ID'],
    ['at once', 'exec cancel --id ID --signal KILL'],
  ],
  async run(values, context) {
    const ids = idsOf('exec cancel', values.id);
    if (ids.length > 1)
      await confirm(context, 'exec cancel', `cancel ${ids.length} execs?`, values.yes === true);
    const request = { signal: values.signal ?? 'TERM', grace_ms: values.grace ?? defaultGraceMs };
    // Each is asked, whatever becomes of another: one that cannot be cancelled leaves none of the others unsaid.
    const asked = await Promise.allSettled(
      ids.map((id) =>
        context.client.cancelExec(
          { id, machine: values.machine },
          request,
          values['connect-wait'] ?? defaultConnectWaitMs,
        ),
      ),
    );
    const replies = asked.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    const failed = asked.find((one) => one.status === 'rejected');
    if (failed !== undefined && (ids.length === 1 || context.output.readerGone.aborted)) throw failed.reason;
    const answers = replies.map((reply) => answer(context, reply));
    const exit = answers.some(({ leftover_pids }) => leftover_pids.length > 0) ? 1 : 0;
    if (failed !== undefined) return partOutcome(context, failed.reason, answers, replies);
    const value =
      answers.length === 1 && answers[0] !== undefined ? answers[0] : { ok: true, execs: answers };
    return { value, exit, human: () => replies.map(shown).join('\n') };
  },
});

/** Some were cancelled and at least one was not: the failure, with what became of the others. */
function partOutcome(
  { args, output }: Context,
  reason: unknown,
  execs: readonly object[],
  replies: readonly CancelReply[],
): Outcome {
  const failure = failureOf(reason, { args, stream: false, debug: false, command: 'exec cancel' });
  output.note(stderrLine(failure));
  return { value: { ...failure, execs }, exit: exitCodes.failed, human: () => replies.map(shown).join('\n') };
}

function answer({ clock }: Context, { view, already_finished, leftover_pids }: CancelReply) {
  return { ...answerOf(view, { now: clock.wall(), tails: 'none' }), already_finished, leftover_pids };
}

function shown({ view, already_finished, leftover_pids }: CancelReply): string {
  const left =
    leftover_pids.length > 0 ? `; processes that could not be ended: ${leftover_pids.join(', ')}` : '';
  return `${already_finished ? 'already finished: ' : ''}${oneLineOf(view)}${left}`;
}
