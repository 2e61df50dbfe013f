import { command } from '../../table/command.ts';
import { flagSwitch, one } from '../../table/flag.ts';
import * as read from '../../table/values.ts';
import { textOf } from '../exec/render.ts';
import { addressOf, fileFlags, filesOf, pathText } from './address.ts';
import { octal } from './render.ts';

export const fileMkdir = command({
  name: 'file mkdir',
  summary: 'Make a folder on a machine.',
  flags: {
    ...fileFlags,
    parents: flagSwitch('those on the way too; one that is there is as good'),
    mode: one(read.octalMode, 'MODE', 'octal (default: what the umask leaves of 0777)'),
  },
  positional: 'path',
  examples: [['with those on the way', 'file mkdir -m local runs/today --parents']],
  async run(values, context) {
    const address = addressOf('file mkdir', values, context);
    const order = { parents: values.parents === true, mode: values.mode };
    const made = await filesOf(context).mkdir(address, order);
    return {
      value: { ok: true, machine: address.machine, ...made, mode: octal(made.mode) },
      exit: 0,
      human: () => textOf(`${pathText(made)}: ${made.created ? 'made' : 'was there'}`),
    };
  },
});
