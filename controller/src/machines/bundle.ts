import { join } from 'node:path';

/** What an agent is made of, beside our own bundle. */
export function bundleFiles(dir: string): readonly string[] {
  return ['agent.mjs', 'shim.sh', 'keeper.sh'].map((name) => join(dir, name));
}
