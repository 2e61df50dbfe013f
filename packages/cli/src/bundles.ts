import { join } from 'node:path';
import { codeCacheFolder } from './code-cache.ts';
import type { Command } from './table/command.ts';

/** Files that take a line over from the one that was started. */
export const bundles = ['cli.cjs', 'oclif.cjs', 'sync.cjs'] as const;

/** Runs the line by the program of another bundle, with Node's compile cache. */
export function runBundle(bundle: (typeof bundles)[number], args: readonly string[]): void {
  const folder = codeCacheFolder(process.env);
  if (folder !== undefined) process.getBuiltinModule('node:module').enableCompileCache(folder);
  const { main } = require(join(__dirname, bundle)) as { readonly main: (args: readonly string[]) => void };
  main(args);
}

/** What `sync.cjs` runs: it works on trees, or sends one before it starts. */
export const isOfTrees = ({ name }: Command, values: Readonly<Record<string, unknown>>): boolean =>
  name.startsWith('sync ') ||
  name === 'exec apply' ||
  name === 'project add' ||
  ((name === 'exec run' || name === 'exec start') && values.project !== undefined);
