import { command } from '../../table/command.ts';
import { machineFlag, sshFlags } from '../../table/shared.ts';
import { machineOf } from '../exec/address.ts';
import { machineText } from './show-text.ts';

export const machineAdd = command({
  name: 'machine add',
  summary: 'Register a machine. Nothing is sent to it.',
  flags: { machine: machineFlag, ...sshFlags },
  positional: 'machine',
  examples: [
    ['a Host of the ssh config', 'machine add gpu'],
    ['an address', 'machine add gpu --ssh me@192.0.2.7:2222'],
  ],
  async run(values, context) {
    const name = machineOf('machine add', values.machine, context.env);
    const view = await context.client.addMachine({
      name,
      ...(values.ssh === undefined ? {} : { ssh: values.ssh }),
      ...(values['agent-home'] === undefined ? {} : { agent_home: values['agent-home'] }),
    });
    return {
      value: {
        ok: true,
        ...view,
        next_action: 'fix-config',
        next_command: `codex-remote machine up -m ${name}`,
      },
      exit: 0,
      human: () => `${machineText(view)}\nnext: codex-remote machine up -m ${name}`,
    };
  },
});
