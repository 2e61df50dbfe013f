import { join } from 'node:path';
import { codeCacheFolder } from './code-cache.ts';
import type { Command } from './table/command.ts';

/** The other files that the program is made of, beside this one. */
export type Bundle = 'cli.cjs' | 'oclif.cjs' | 'sync.cjs';

/** Runs the line by the program of another bundle, with Node's compile cache. */
export function runBundle(bundle: Bundle, args: readonly string[]): void {
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
