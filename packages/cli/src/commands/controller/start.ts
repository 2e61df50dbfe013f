import { command } from '../../table/command.ts';
import { directChange, directFlags } from './direct-flags.ts';
import { directText, runningAnswer } from './status.ts';

export const controllerStart = command({
  name: 'controller start',
  ownHost: true,
  summary: 'Start the controller when none runs, and say where it listens.',
  description: `Every command starts it by itself. Without --listen it has a private socket alone. --listen and --public-url are
kept for every controller that is started later; they change one that runs too.`,
  flags: directFlags,
  examples: [
    ['start', 'controller start'],
    [
      'let machines dial it',
      'controller start --listen 0.0.0.0:7443 --public-url https://controller.example:7443',
    ],
  ],
  async run(values, { client, startController }) {
    const change = directChange('controller start', values);
    const before = await client.status().catch(() => undefined);
    if (before === undefined) await startController();
    const status = change ? await client.changeDirect(change) : (before ?? (await client.status()));
    return {
      value: { ok: true, ...runningAnswer(status), already_running: before !== undefined },
      exit: 0,
      human: () =>
        [
          `controller ${before === undefined ? 'started' : 'already runs'} (pid ${status.pid})`,
          ...directText(status),
        ].join('\n'),
    };
  },
});
