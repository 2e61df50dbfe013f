import { ItemWriter, readItems, takeRules } from '@codex-remote/platform/sync';
import { type AgentVerb, agentVerbs, type MachinePolicy, syncRules } from '@codex-remote/protocol/schema';
import { type Channel, RemoteError } from '@codex-remote/protocol/wire';
import { fileError } from '../files/file-error.ts';
import { absolutePath } from '../files/path.ts';
import { serveSource } from '../sync/serve-source.ts';
import { type SyncOrder, type SyncTalk, serveTarget } from '../sync/serve-target.ts';
import { mayChange } from './may-change.ts';
import { parseOrRefuse } from './parse.ts';

export type SyncVerb = Extract<AgentVerb, `sync.${string}`>;

type Serve = (channel: Channel, params: unknown) => Promise<void>;

export interface SyncWorld {
  /** Of the machine's user. */
  readonly home: string;
  /** What of this machine may be changed. */
  policy(): MachinePolicy;
}

/** The verbs about trees. */
export function syncVerbTable({ home, policy }: SyncWorld): { readonly [Verb in SyncVerb]: Serve } {
  const serve =
    (verb: SyncVerb, run: (order: SyncOrder, talk: SyncTalk) => Promise<void>): Serve =>
    async (channel, given) => {
      const { path, ...params } = parseOrRefuse(agentVerbs[verb].params, given, verb);
      if (verb === 'sync.push' && !params.dry_run) mayChange(policy());
      const incoming = readItems(dataOf(channel));
      const { rules } = parseOrRefuse(syncRules, await takeRules(incoming), `the rules of ${verb}`);
      const out = new ItemWriter((bytes) => channel.write(bytes));
      const order = { ...params, rules, root: absolutePath(path, home) };
      try {
        await run(order, { out, incoming, signal: whileOpen(channel) });
      } catch (error) {
        throw fileError('sync', order.root, error);
      }
      channel.end();
    };
  return { 'sync.push': serve('sync.push', serveTarget), 'sync.pull': serve('sync.pull', serveSource) };
}

/** Aborted once nobody waits for the answer any more. */
function whileOpen(channel: Channel): AbortSignal {
  const gone = new AbortController();
  void channel.closed.then(() => gone.abort(new RemoteError('cancelled', 'nobody waits for it any more')));
  return gone.signal;
}

async function* dataOf(channel: Channel): AsyncGenerator<Uint8Array, void, void> {
  for await (const item of channel) {
    if (item.kind !== 'data') throw new RemoteError('protocol_error', `the body of ${channel.verb} is DATA`);
    yield item.bytes;
  }
}
