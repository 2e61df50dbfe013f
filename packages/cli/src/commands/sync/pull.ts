import { command } from '../../table/command.ts';
import { flagSwitch, one } from '../../table/flag.ts';
import * as read from '../../table/values.ts';
import { machineOfTree, treeFlags, treesOf } from './flags.ts';
import { performSync } from './perform.ts';

export const syncPull = command({
  name: 'sync pull',
  summary: 'Make a folder here like one on a machine: only what differs travels.',
  description:
    'What is in SRC comes into DST. As sync push; and files that run by themselves (.envrc, hooks, settings of editors and agents) are held back unless --allow-autorun.',
  flags: {
    ...machineOfTree,
    src: one(read.nonEmpty, 'DIR', 'the folder there: absolute, ~/..., or from the home'),
    dst: one(read.nonEmpty, 'DIR', 'the folder here; it is made'),
    'allow-autorun': flagSwitch('take files that run by themselves too'),
    ...treeFlags,
  },
  examples: [
    ['results', 'sync pull -m local --src ~/copy --dst results'],
    ['what would come', 'sync pull -m local --src ~/copy --dst results --dry-run'],
  ],
  async run(values, context) {
    const trees = treesOf('pull', values, context);
    const { heldBackOf } = await import('./trees.ts');
    const order = values['allow-autorun'] ? trees.order : { ...trees.order, heldBack: heldBackOf(trees.dst) };
    return performSync(
      { ...trees, order },
      { yes: values.yes === true, watch: values.watch === true },
      context,
    );
  },
});
