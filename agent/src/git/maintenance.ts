import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '@codex-remote/protocol/wire';
import type { Mirror } from './mirror.ts';

/** Each receive leaves a packfile; so many are made one. */
const maxPacks = 40;
/** How often what nothing leads to any more is looked for, and how old it is then. */
const gcEveryMs = 7 * 24 * 3600 * 1000;
const pruneAge = '7.days.ago';

/**
 * Keeps a mirror quick and small, where it is time for it. Safe beside anything else that reads or adds: objects that are
 * in use are reachable, and what is on its way is younger. Throws what git says: it is tried again next time.
 */
export async function maintain(mirror: Mirror, clock: Clock, signal: AbortSignal): Promise<void> {
  const git = await mirror.git();
  const run = (args: readonly string[]) => git.run(mirror.call(args), { signal });
  if (isDue(mirror, clock.wall())) {
    await run(['gc', '--quiet', `--prune=${pruneAge}`]);
    return;
  }
  if (packsOf(mirror) <= maxPacks) return;
  try {
    await run(['repack', '-d', '-q', '--geometric=2']);
  } catch {
    // Git before 2.33 cannot.
    await run(['repack', '-a', '-d', '-q', '--keep-unreachable']);
  }
}

function packsOf(mirror: Mirror): number {
  try {
    return readdirSync(join(mirror.path, 'objects/pack')).filter((name) => name.endsWith('.pack')).length;
  } catch {
    return 0;
  }
}

/** The first time counts from when it is asked first. Said before it is done: one that fails is not tried at every turn. */
function isDue(mirror: Mirror, nowMs: number): boolean {
  const note = join(mirror.path, 'codex-remote-gc');
  const last = statSync(note, { throwIfNoEntry: false })?.mtimeMs;
  if (last !== undefined && nowMs - last < gcEveryMs) return false;
  writeFileSync(note, '');
  return last !== undefined;
}
