import { command } from '../../table/command.ts';
import { runningAnswer } from './status.ts';

export const controllerStart = command({
  name: 'controller start',
  summary: 'Start the controller when none runs. Every command does so by itself.',
  flags: {},
  examples: [['start', 'controller start']],
  async run(_values, { client, startController }) {
    const before = await client.status().catch(() => undefined);
    if (before === undefined) await startController();
    const status = before ?? (await client.status());
    return {
      value: { ok: true, ...runningAnswer(status), already_running: before !== undefined },
      exit: 0,
      human: () => `controller ${before === undefined ? 'started' : 'already runs'} (pid ${status.pid})`,
    };
  },
});
