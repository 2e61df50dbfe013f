import { readFileSync } from 'node:fs';
import { Git } from '@codex-remote/platform/git';
import { applyToTree } from '../../src/apply/index.ts';

/** Applies what the file of the first argument says, so that a test can end it at any moment. */
const { patch, ...order } = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8'));
await applyToTree(new Git(), {
  ...order,
  patch: async function* () {
    yield Buffer.from(patch, 'base64');
  },
});
