import { readFileSync } from 'node:fs';
import { ProcessTable } from '@codex-remote/platform';
import { agentService } from '@codex-remote/protocol/schema';
import { z } from 'zod';
import type { AgentHome } from '../home.ts';

/** `agent.json`: what a daemon says of itself once it serves. */
const daemonState = z.object({
  pid: z.number().int().positive(),
  /** Clock ticks after boot (proc(5), field 22): tells the process from a later one of the same pid. */
  start: z.number().int(),
  version: z.string(),
  /** Path of the bundle it runs. */
  bundle: z.string(),
  /** Path of the Node that runs it, and what keeps it running; agents of 0.1.0 do not say. */
  node: z.string().optional(),
  service: agentService.shape.kind.optional(),
  started_at: z.string(),
});
export type DaemonState = z.infer<typeof daemonState>;

/** Of the file: two paths and some words. An agent that starts again on a full disk has no more than the old file. */
export const daemonStateBytes = 10_240;

/** The daemon that runs now and is provably the one that wrote its state, or undefined. */
export function runningDaemon(home: AgentHome): DaemonState | undefined {
  let state: DaemonState;
  try {
    state = daemonState.parse(JSON.parse(readFileSync(home.daemon, 'utf8')));
  } catch {
    return undefined;
  }
  return new ProcessTable().isAlive(state) ? state : undefined;
}
