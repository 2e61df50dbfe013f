import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Writes the parts of `docs/` that are made from code. */
const root = join(import.meta.dirname, '..');
const { cliReference }: { cliReference: () => string } = await import(
  join(root, 'packages/cli/src/docs-text.ts')
);
await writeFile(join(root, 'docs/cli.md'), cliReference());

const { withRowTable }: { withRowTable: (page: string) => string } = await import(
  join(root, 'test/faults/table.ts')
);
const reliability = join(root, 'docs/reliability.md');
await writeFile(reliability, withRowTable(await readFile(reliability, 'utf8')));
