import { command } from '../../table/command.ts';
import { table } from '../exec/render.ts';
import { connectionText } from './show-text.ts';

export const machineList = command({
  name: 'machine list',
  summary: 'List the machines and how they are connected.',
  flags: {},
  examples: [['all', 'machine list']],
  async run(_values, { client }) {
    const machines = await client.machines();
    const rows = machines.map((view) => [
      view.machine,
      connectionText(view),
      String(view.running ?? ''),
      view.agent_version ?? '',
      view.ssh ?? '',
    ]);
    return {
      value: { ok: true, machines },
      exit: 0,
      human: () =>
        rows.length === 0
          ? 'no machines; codex-remote machine add registers one'
          : table(['MACHINE', 'CONNECTION', 'RUNNING', 'AGENT', 'SSH'], rows),
    };
  },
});
