import { confirm } from '../../confirm.ts';
import { command } from '../../table/command.ts';
import { flagSwitch } from '../../table/flag.ts';
import { textOf } from '../exec/render.ts';
import { addressOf, fileFlags, filesOf, pathText } from './address.ts';

export const fileRemove = command({
  name: 'file remove',
  summary: 'Remove a file, a link or a folder of a machine.',
  description:
    'A link itself is removed, never what it leads to. A folder that is not empty needs --recursive, which asks at a terminal and needs --yes elsewhere. Never removed: /, the home and what it lies in, . and ..',
  flags: {
    ...fileFlags,
    recursive: flagSwitch('a folder with all that is in it; what is mounted there stays'),
    yes: flagSwitch('do not ask'),
  },
  positional: 'path',
  examples: [
    ['a file', 'file remove -m local notes.txt'],
    ['a folder with all that is in it', 'file remove -m local copy --recursive --yes'],
  ],
  async run(values, context) {
    const address = addressOf('file remove', values, context);
    const recursive = values.recursive === true;
    if (recursive) {
      const what = Buffer.from(address.path).toString();
      const question = `remove ${what} on ${address.machine} with all that is in it?`;
      await confirm(context, 'file remove', textOf(question), values.yes === true);
    }
    const gone = await filesOf(context).remove(address, recursive);
    return {
      value: { ok: true, machine: address.machine, ...gone },
      exit: 0,
      human: () => textOf(`${pathText(gone)}: removed${gone.removed > 1 ? `, ${gone.removed} names` : ''}`),
    };
  },
});
