import { command } from '../../table/command.ts';
import { one } from '../../table/flag.ts';
import * as read from '../../table/values.ts';
import { machineOfTree, treeFlags, treesOf } from './flags.ts';
import { performSync } from './perform.ts';

export const syncPush = command({
  name: 'sync push',
  summary: 'Make a folder on a machine like one here: only what differs travels.',
  description:
    'What is in SRC comes into DST. Size and time tell a change. .git never travels, nor what git ignores; what leads out of the tree is refused and named. Broken off, the same line goes on.',
  flags: {
    ...machineOfTree,
    src: one(read.nonEmpty, 'DIR', 'the folder here'),
    dst: one(read.nonEmpty, 'DIR', 'the folder there: absolute, ~/..., or from the home; it is made'),
    ...treeFlags,
  },
  examples: [
    ['a folder and what is in it', 'sync push -m local --src . --dst ~/copy'],
    ['and nothing else there', 'sync push -m local --src . --dst ~/copy --delete --yes'],
    ['again whenever something changes', 'sync push -m gpu --src . --dst ~/work --watch'],
  ],
  run: (values, context) =>
    performSync(
      treesOf('push', values, context),
      { yes: values.yes === true, watch: values.watch === true },
      context,
    ),
});
