import { readdirSync, readFileSync, realpathSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { writeDurableSync } from '@codex-remote/platform';
import { z } from 'zod';
import { type AgentHome, agentHome } from '../home.ts';

const version = z.object({
  /** Paths; in the store, or a Node of the machine's own. */
  node: z.string(),
  bundle: z.string(),
});
export type Version = z.infer<typeof version>;

/** `versions.json`: what this home runs, and what it ran before, to which it can go back. */
const versions = z.object({ current: version, previous: version.optional() });

/** What an entry is younger than may belong to a bring-up that is under way. */
const freshMs = 60 * 60 * 1000;

/** Notes what has just begun to serve. */
export function rememberVersion(home: AgentHome, current: Version): void {
  const before = readVersions(home);
  const previous = before && same(before.current, current) ? before.previous : before?.current;
  writeDurableSync(home.versions, `${JSON.stringify({ current, ...(previous && { previous }) })}\n`);
}

/**
 * Removes the entries of the store that no home under the base runs or ran last; their names. Homes of agents that note
 * nothing of the kind, and entries that have just come, make it keep what they may need.
 */
export function sweepStore(home: AgentHome, now = Date.now()): string[] {
  const used = usedEntries(home);
  if (!used) return [];
  return readdirSync(home.store).filter((entry) => {
    if (!/^(agent|node)-[0-9a-f]{16}$/.test(entry) || used.has(entry)) return false;
    const path = join(home.store, entry);
    try {
      if (now - statSync(path).mtimeMs < freshMs) return false;
      rmSync(path, { recursive: true });
      return true;
    } catch {
      // A shared file system keeps what another host has open: the next start tries again.
      return false;
    }
  });
}

/** Undefined where a home does not say what it needs. */
function usedEntries({ base, store }: AgentHome): Set<string> | undefined {
  const real = realpathSync(store);
  const used = new Set<string>();
  for (const path of homesUnder(base)) {
    const known = readVersions(agentHome(path));
    if (!known) return undefined;
    for (const { node, bundle } of [known.current, known.previous ?? known.current]) {
      for (const file of [node, bundle]) {
        const entry = dirname(file);
        if (dirname(entry) === real || dirname(entry) === store) used.add(basename(entry));
      }
    }
  }
  return used;
}

/** `<base>/<host id>/<controller id>` with an agent's config in it. */
function homesUnder(base: string): string[] {
  return readdirSync(base).flatMap((host) => {
    try {
      return readdirSync(join(base, host))
        .map((controller) => join(base, host, controller))
        .filter((path) => statSync(join(path, 'config.json'), { throwIfNoEntry: false }) !== undefined);
    } catch {
      return [];
    }
  });
}

function readVersions(home: AgentHome): z.infer<typeof versions> | undefined {
  try {
    return versions.parse(JSON.parse(readFileSync(home.versions, 'utf8')));
  } catch {
    return undefined;
  }
}

function same(a: Version, b: Version): boolean {
  return a.node === b.node && a.bundle === b.bundle;
}
