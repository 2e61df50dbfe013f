import { execId } from '@codex-remote/protocol/schema';
import type { Clock } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import type { InstalledAgent } from '../ssh/bridge.ts';
import { runScript } from '../ssh/script.ts';
import type { HostTransport } from '../ssh/transport.ts';
import { runAgentCommand } from './agent-command.ts';

const stopReply = z.object({
  stopped: z.boolean(),
  running: z.array(execId),
  queued: z.array(execId).optional(),
});
const purgeReply = z.object({ purged: z.boolean() });

/** What nobody uses any more: the store, when no agent's home is left under the base. */
const sweepScript = `
IFS= read -r base
for config in "$base"/*/*/config.json; do
  [ -e "$config" ] && { say kept; exit 0; }
done
rm -rf "$base/store"
for folder in "$base"/* "$base"; do rmdir "$folder" 2>/dev/null; done
say swept
`;

export interface DownContext {
  readonly clock: Clock;
  readonly transport: HostTransport;
  readonly installed: InstalledAgent & { readonly base: string };
  /** Also remove what was installed; the agent refuses with `conflict` while execs run or are queued. */
  readonly purge: boolean;
}

export interface DownResult {
  readonly stopped: boolean;
  /** Execs that go on without an agent. */
  readonly running: readonly string[];
  /** Execs that start when there is an agent again. */
  readonly queued?: readonly string[] | undefined;
  readonly purged: boolean;
}

/** Stops the agent of a machine; its execs go on. Throws what the agent answers, `bootstrap_failed`, `connection_reset`. */
export async function down({ clock, transport, installed, purge }: DownContext): Promise<DownResult> {
  const home = ['--home', installed.home];
  const stopped = (await runAgentCommand(transport, installed, ['stop', ...home], stopReply, { clock })) ?? {
    stopped: false,
    running: [],
  };
  if (!purge) return { ...stopped, purged: false };
  const purged = (await runAgentCommand(transport, installed, ['purge', ...home], purgeReply, { clock })) ?? {
    purged: true,
  };
  await runScript(transport, sweepScript, { clock, params: [installed.base], idleMs: 30_000 });
  return { ...stopped, ...purged };
}
