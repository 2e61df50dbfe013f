import { ownBuild, ownVersion } from '@codex-remote/client';
import { command } from '../table/command.ts';

export const version = command({
  name: 'version',
  asksNobody: true,
  summary: 'Show the version.',
  flags: {},
  examples: [['version', 'version']],
  async run() {
    const value = {
      ok: true,
      version: ownVersion,
      build: ownBuild,
      node: process.versions.node,
      platform: `${process.platform}-${process.arch}`,
    };
    return {
      value,
      exit: 0,
      human: () => `codex-remote ${value.version} (${value.platform}, node ${value.node})`,
    };
  },
});
