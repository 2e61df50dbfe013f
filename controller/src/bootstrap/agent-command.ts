import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import type { InstalledAgent } from '../ssh/bridge.ts';
import { runScript } from '../ssh/script.ts';
import type { HostTransport } from '../ssh/transport.ts';

const commandScript = `
IFS= read -r node; IFS= read -r agent; IFS= read -r count
set --
i=0
while [ "$i" -lt "$count" ]; do IFS= read -r word; set -- "$@" "$word"; i=$((i + 1)); done
if [ -x "$node" ] && [ -f "$agent" ]; then
  "$node" "$agent" "$@" | while IFS= read -r line; do say answer "$line"; done
else
  say missing
fi
say end
`;

const answer = z.union([
  z.looseObject({ ok: z.literal(true) }),
  z.looseObject({ ok: z.literal(false), error: z.unknown() }),
]);

export interface AgentCommandOptions {
  readonly clock: Clock;
  readonly signal?: AbortSignal;
  /** Longest silence of the command. */
  readonly idleMs?: number;
  /** Goes to its stdin. */
  readonly input?: string;
}

/**
 * Runs a command of the installed agent and parses its one line of JSON. Undefined when no agent is installed there.
 * Throws what the command answered, or `bootstrap_failed` when it answered nothing of the kind.
 */
export async function runAgentCommand<T>(
  transport: HostTransport,
  installed: Pick<InstalledAgent, 'node' | 'agent'>,
  words: readonly string[],
  reply: z.ZodType<T>,
  options: AgentCommandOptions,
): Promise<T | undefined> {
  const report = await runScript(transport, commandScript, {
    clock: options.clock,
    params: [installed.node, installed.agent, String(words.length), ...words],
    input: options.input === undefined ? [] : [Buffer.from(options.input)],
    idleMs: options.idleMs ?? 30_000,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  if (report.get('missing') !== undefined) return undefined;
  const facts = { remote_stderr: report.stderr };
  const parsed = answer.safeParse(parseJson(report.get('answer')));
  const useless = (): RemoteError =>
    new RemoteError(
      'bootstrap_failed',
      `\`agent ${words[0]}\` on ${transport.description} gave no usable answer`,
      {
        hint: 'remote_stderr has what it said; repeat `codex-remote machine up`',
        facts,
      },
    );
  if (!parsed.success) throw useless();
  if (parsed.data.ok === false) throw RemoteError.fromWire(parsed.data.error).with({ facts });
  const value = reply.safeParse(parsed.data);
  if (!value.success) throw useless();
  return value.data;
}

function parseJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '');
  } catch {
    return undefined;
  }
}
