import { rmdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { RemoteError } from '@codex-remote/protocol/wire';
import { removeTree } from '../git/remove-tree.ts';
import { type AgentHome, readAgentConfig } from '../home.ts';
import type { ServiceHost } from '../service/host.ts';
import { removeFromBoot, removeServices } from '../service/installed.ts';
import { unfinishedExecs } from './unfinished-execs.ts';

/**
 * Removes the home of an agent that was stopped, logs and records included, and what a service manager has of it. Throws
 * `conflict` while execs run or are queued.
 */
export async function purgeHome(home: AgentHome, host: ServiceHost): Promise<boolean> {
  const { running, queued } = unfinishedExecs(home);
  const unfinished = [...running, ...queued];
  if (unfinished.length > 0) {
    throw new RemoteError(
      'conflict',
      `conflict: ${unfinished.length} execs still run or are queued: ${unfinished.slice(0, 10).join(', ')}`,
      {
        hint: 'wait for them or cancel them, then repeat with --purge',
        facts: { running: unfinished.slice(0, 100) },
      },
    );
  }
  await removeFromBoot(host, home);
  await removeServices(host, home);
  for (const endpoint of readAgentConfig(home).endpoints) {
    if (endpoint.kind === 'tunnel') removeSocketFolder(endpoint.dir);
  }
  await removeTree(home.path);
  return true;
}

function removeSocketFolder(path: string): void {
  rmSync(path, { recursive: true, force: true });
  try {
    // The short one under /tmp has a parent of ours, which other homes may still use.
    rmdirSync(dirname(path));
  } catch {
    // It is used, or it is the home itself.
  }
}
