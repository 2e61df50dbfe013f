import { oneLine } from '@codex-remote/client';
import { command } from '../../table/command.ts';
import { flagSwitch } from '../../table/flag.ts';
import { machineFlag } from '../../table/shared.ts';
import { machineOf } from '../exec/address.ts';

export const machineDown = command({
  name: 'machine down',
  summary: 'Stop the agent of a machine. Running execs go on.',
  flags: { machine: machineFlag, purge: flagSwitch('also remove what was installed, when nothing runs') },
  positional: 'machine',
  examples: [
    ['stop the agent', 'machine down -m local'],
    ['and remove it', 'machine down -m local --purge'],
  ],
  async run(values, { client, env }) {
    const down = await client.downMachine(
      machineOf('machine down', values.machine, env),
      values.purge === true,
    );
    const goOn =
      down.running.length === 0 ? '' : `; ${down.running.length} execs go on, machine up adopts them`;
    const waits = down.queued?.length ? `; ${down.queued.length} are queued until machine up` : '';
    return {
      value: { ok: true, ...down },
      exit: 0,
      human: () =>
        oneLine(
          `${down.machine}: ${down.stopped ? 'stopped' : 'was not running'}${down.purged ? ', removed' : ''}${goOn}${waits}`,
        ),
    };
  },
});
