import { command } from '../../table/command.ts';
import { machineFlag } from '../../table/shared.ts';
import { machineOf } from '../exec/address.ts';

export const machineRemove = command({
  name: 'machine remove',
  summary: 'Forget a machine. What runs there goes on.',
  flags: { machine: machineFlag },
  positional: 'machine',
  examples: [['forget it', 'machine remove gpu']],
  async run(values, { client, env }) {
    const machine = machineOf('machine remove', values.machine, env);
    await client.removeMachine(machine);
    return { value: { ok: true, machine, removed: true }, exit: 0, human: () => `${machine}: removed` };
  },
});
