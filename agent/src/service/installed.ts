import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { writeDurableSync } from '@codex-remote/platform';
import { z } from 'zod';
import type { AgentHome } from '../home.ts';
import { BootLine } from './boot-line.ts';
import type { ServiceHost } from './host.ts';
import { LaunchdAgent } from './launchd.ts';
import { findManager, SystemdUnit, usualUnits } from './systemd.ts';

/** The name of everything that a service manager has of this home. */
export function serviceName(home: AgentHome): string {
  return `codex-remote-agent-${createHash('sha256').update(home.path).digest('hex').slice(0, 12)}`;
}

/** Ends whatever would start an agent of this home again, and with it the agent where a manager runs it. Jobs go on. */
export async function removeServices(host: ServiceHost, home: AgentHome): Promise<void> {
  rmSync(home.keeper, { force: true });
  const name = serviceName(home);
  if (host.platform === 'darwin') return new LaunchdAgent(host, name).remove();
  for (const units of new Set([usualUnits(host), (await findManager(host))?.units ?? usualUnits(host)]))
    await new SystemdUnit(host, units, name).remove();
}

/** And what a boot would do. */
export async function removeFromBoot(host: ServiceHost, home: AgentHome): Promise<void> {
  if (readWishes(home).boot) await new BootLine(host, serviceName(home)).remove();
}

const wishes = z.object({
  /** Start at boot by cron where nothing else does. */
  boot: z.boolean(),
});
export type Wishes = z.infer<typeof wishes>;

/** What was asked for by an earlier start; nothing where the file is not there or not ours. */
export function readWishes(home: AgentHome): Wishes {
  try {
    return wishes.parse(JSON.parse(readFileSync(home.wishes, 'utf8')));
  } catch {
    return { boot: false };
  }
}

export function writeWishes(home: AgentHome, value: Wishes): void {
  writeDurableSync(home.wishes, `${JSON.stringify(value)}\n`);
}
