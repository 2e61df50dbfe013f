import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Writes the parts of `docs/` that are made from code. */
const root = join(import.meta.dirname, '..');
const { cliReference }: { cliReference: () => string } = await import(
  join(root, 'packages/cli/src/docs-text.ts')
);
await writeFile(join(root, 'docs/cli.md'), cliReference());

type Page = 'reliability' | 'security';
const { withRowTable }: { withRowTable: (name: Page, page: string) => string } = await import(
  join(root, 'test/faults/table.ts')
);
for (const name of ['reliability', 'security'] as const) {
  const file = join(root, `docs/${name}.md`);
  await writeFile(file, withRowTable(name, await readFile(file, 'utf8')));
}
