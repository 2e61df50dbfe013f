import { command } from '../../table/command.ts';
import { machineFlag } from '../../table/shared.ts';
import { machineOf } from '../exec/address.ts';
import { machineText } from './show-text.ts';

export const machineShow = command({
  name: 'machine show',
  summary: 'Show what is known of a machine, and its queues.',
  flags: { machine: machineFlag },
  positional: 'machine',
  examples: [['one machine', 'machine show local']],
  async run(values, { client, env }) {
    const view = await client.machine(machineOf('machine show', values.machine, env));
    return { value: { ok: true, ...view }, exit: 0, human: () => machineText(view) };
  },
});
