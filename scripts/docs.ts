import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Writes the parts of `docs/` that are made from code. */
const root = join(import.meta.dirname, '..');
const { cliReference }: { cliReference: () => string } = await import(
  join(root, 'packages/cli/src/docs-text.ts')
);
await writeFile(join(root, 'docs/cli.md'), cliReference());
