import { Follower } from '@codex-remote/client';
import { command } from '../../table/command.ts';
import { maxWait } from '../../table/shared.ts';
import { followToEnd } from './follow-to-end.ts';
import { requestFlags, startRequest } from './request.ts';

export const execRun = command({
  name: 'exec run',
  summary: 'Run a command on a machine and follow it to its end.',
  description:
    "Exits with the command's own code. The job is not tied to this caller: when it goes away the job goes on, and its id was in the first line.",
  flags: { ...requestFlags, 'max-wait': maxWait },
  takesArgv: true,
  examples: [
    ['one shell line', "exec run -m local --cmd 'uname -a | wc -c'"],
    ['an exact argument vector', 'exec run -m local -- printf "%s\\n" "a b"'],
    ['wait at most 50 s, the job goes on', "exec run -m local --max-wait 50s --cmd 'sleep 1'"],
  ],
  async run(values, context, argv) {
    const start = startRequest('exec run', values, argv, context);
    return followToEnd(context, {
      id: start.spec.exec_id,
      machine: start.machine,
      follower: (signal) => new Follower(context.client, { clock: context.clock, signal }),
      events: (follower) => follower.run(start),
      maxWaitMs: values['max-wait'],
      cancels: true,
    });
  },
});
