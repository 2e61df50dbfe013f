import { answerOf } from '@codex-remote/client';
import { RemoteError } from '@codex-remote/protocol/wire';
import { command } from '../../table/command.ts';
import { oneLineOf, textOf } from './render.ts';
import { requestFlags, startRequest } from './request.ts';
import { prepared, withWarnings } from './worktree.ts';

export const execStart = command({
  name: 'exec start',
  summary: 'Start a command on a machine and return its id.',
  flags: requestFlags,
  takesArgv: true,
  examples: [
    ['a long job', "exec start -m local --label training --cmd 'sleep 1; echo done'"],
    ['a script from here', 'exec start -m local --script ./job.sh'],
    ['these files, there', 'exec start -m local --project . --ref WORKTREE -- npm test'],
    ['when ID has succeeded, one at a time', 'exec start -m local --queue gpu --after ID -- ./eval.sh'],
  ],
  async run(values, context, argv) {
    const request = startRequest('exec start', values, argv, context);
    const { start, warnings } = await prepared('exec start', request, values, context);
    const { view, attached } = await context.client.startExec(start).catch((error: unknown) => {
      throw located(error, start.spec.exec_id, start.machine);
    });
    const answer = answerOf(view, { now: context.clock.wall(), tails: 'none' });
    const { ok, exec_id, machine, mode, status, next_action, next_command, ...rest } = answer;
    const value = {
      ok,
      exec_id,
      machine,
      mode,
      status,
      next_action,
      next_command,
      ...(attached ? { attached: true } : {}),
      ...rest,
      ...withWarnings(rest.warnings, warnings),
    };
    return {
      value,
      exit: 0,
      human: () =>
        textOf(
          `${attached ? 'attached to ' : ''}${oneLineOf(view)}`,
          ...warnings,
          `next: ${next_command ?? `codex-remote exec result --id ${exec_id}`}`,
        ),
    };
  },
});

/** Every failure after the id was made has it, and whether the machine may have the request. */
function located(error: unknown, exec_id: string, machine: string | undefined): unknown {
  if (!(error instanceof RemoteError)) return error;
  const lost =
    error.code === 'connection_reset' ||
    error.code === 'stream_cut' ||
    error.code === 'controller_unreachable';
  return error.with({
    exec_id,
    sent: lost ? 'unknown' : 'no',
    ...(machine === undefined ? {} : { machine }),
  });
}
