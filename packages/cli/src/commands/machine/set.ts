import { usage } from '../../table/bind.ts';
import { command } from '../../table/command.ts';
import { many } from '../../table/flag.ts';
import { connectWait, defaultConnectWaitMs, machineFlag } from '../../table/shared.ts';
import * as read from '../../table/values.ts';
import { machineOf } from '../exec/address.ts';
import { textOf } from '../exec/render.ts';
import { queueText } from './show-text.ts';

export const machineSet = command({
  name: 'machine set',
  summary: 'Set how many execs of a queue run at once on a machine.',
  description:
    'The machine keeps it, so it must be connected. A queue that was never set has 1; 0 lets nothing more start. What runs goes on.',
  flags: {
    machine: machineFlag,
    queue: many(read.queueSetting, 'NAME=N', 'so many of this queue at once; may be repeated'),
    'connect-wait': connectWait,
  },
  positional: 'machine',
  examples: [
    ['one job per GPU', 'machine set -m local --queue gpu=2'],
    ['let nothing more start, then go on', 'machine set local --queue gpu=0'],
  ],
  async run(values, { client, env }) {
    const machine = machineOf('machine set', values.machine, env);
    if (values.queue === undefined)
      throw usage({ name: 'machine set' }, 'machine set needs something to set: --queue NAME=N');
    const wait = values['connect-wait'] ?? defaultConnectWaitMs;
    const queues = await client.setQueues(machine, Object.fromEntries(values.queue), wait);
    return {
      value: { ok: true, machine, queues },
      exit: 0,
      human: () =>
        textOf(`${machine}:`, ...queues.map((queue) => `  queue ${queue.queue}: ${queueText(queue)}`)),
    };
  },
});
