import { ownVersion } from '@codex-remote/client';
import type { Interfaces } from '@oclif/core';
import { nouns } from '../commands/all.ts';

/** What oclif would read from package.json. */
export const pjson: Interfaces.PJSON = {
  name: 'codex-remote',
  version: ownVersion,
  dependencies: {},
  oclif: {
    bin: 'codex-remote',
    dirname: 'codex-remote',
    topicSeparator: ' ',
    commands: { strategy: 'explicit', target: './oclif.cjs', identifier: 'commands' },
    topics: Object.fromEntries(Object.entries(nouns).map(([noun, description]) => [noun, { description }])),
  },
};
