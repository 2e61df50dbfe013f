import { join } from 'node:path';

/** What an agent is made of, beside our own bundle. */
export function bundleFiles(dir: string): readonly string[] {
  return [join(dir, 'agent.mjs'), join(dir, 'shim.sh')];
}
