import { readFileSync, rmSync } from 'node:fs';
import { writeDurableSync } from '@codex-remote/platform';
import type { AgentHome } from '../home.ts';

/** Pid of the only keeper that may start daemons in this home; see keeper.sh, which appoints itself. */
export function appointedKeeper(home: AgentHome): number | undefined {
  try {
    return Number(readFileSync(home.keeper, 'utf8'));
  } catch {
    return undefined;
  }
}

export function appointKeeper(home: AgentHome, pid: number | undefined): void {
  if (pid === undefined) rmSync(home.keeper, { force: true });
  else writeDurableSync(home.keeper, `${pid}\n`);
}
