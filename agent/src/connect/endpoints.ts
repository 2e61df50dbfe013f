import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { AgentEndpoint } from '@codex-remote/protocol/schema';
import type { DialTarget } from './dial.ts';

const tunnelSocket = /^t-[A-Za-z0-9]+\.sock$/;

/** What to dial now, best first: of a tunnel folder the newest socket before older ones, which may be dead. */
export async function dialTargets(endpoints: readonly AgentEndpoint[]): Promise<DialTarget[]> {
  const targets = await Promise.all(
    endpoints.map(async (endpoint): Promise<DialTarget[]> => {
      if (endpoint.kind === 'tunnel')
        return (await tunnelSockets(endpoint.dir)).map((path) => ({ kind: 'unix', path }));
      return [endpoint];
    }),
  );
  return targets.flat();
}

async function tunnelSockets(dir: string): Promise<string[]> {
  const names = (await readdir(dir).catch(() => [])).filter((name) => tunnelSocket.test(name));
  const found = await Promise.all(
    names.map(async (name) => {
      const path = join(dir, name);
      const status = await stat(path).catch(() => undefined);
      return status?.isSocket() ? { path, bornMs: status.ctimeMs } : undefined;
    }),
  );
  return found
    .filter((entry) => entry !== undefined)
    .sort((a, b) => b.bornMs - a.bornMs)
    .map((entry) => entry.path);
}
