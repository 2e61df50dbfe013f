import { Follower } from '@codex-remote/client';
import { command } from '../../table/command.ts';
import { maxWait } from '../../table/shared.ts';
import { followToEnd } from './follow-to-end.ts';
import { requestFlags, startRequest } from './request.ts';
import { prepared } from './worktree.ts';

export const execRun = command({
  name: 'exec run',
  summary: 'Run a command on a machine and follow it to its end.',
  description: "Exits with the command's own code. When this caller goes away the job goes on.",
  flags: { ...requestFlags, 'max-wait': maxWait },
  takesArgv: true,
  examples: [
    ['one shell line', "exec run -m local --cmd 'uname -a | wc -c'"],
    ['an exact argument vector', "exec run -m local -- ls -l 'a b'"],
    ['these files, there', 'exec run -m local --project . --ref WORKTREE -- npm test'],
  ],
  async run(values, context, argv) {
    const request = startRequest('exec run', values, argv, context);
    const { start, warnings } = await prepared('exec run', request, values, context);
    return followToEnd(context, {
      id: start.spec.exec_id,
      machine: start.machine,
      follower: (signal) => new Follower(context.client, { clock: context.clock, signal }),
      events: (follower) => follower.run(start),
      maxWaitMs: values['max-wait'],
      cancels: true,
      warnings,
    });
  },
});
