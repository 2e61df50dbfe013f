import { type AgentVerb, agentVerbs } from '@codex-remote/protocol/schema';
import { type Channel, RemoteError } from '@codex-remote/protocol/wire';
import { listFolder } from '../files/list-folder.ts';
import { absolutePath } from '../files/path.ts';
import { readFile } from '../files/read-file.ts';
import { statFile } from '../files/stat-file.ts';
import { parseOrRefuse } from './parse.ts';

export type FileVerb = Extract<AgentVerb, `file.${string}`>;

type Serve = (channel: Channel, params: unknown) => Promise<void>;

/** The verbs about files. `home`: of the machine's user. */
export function fileVerbs(home: string): { readonly [Verb in FileVerb]: Serve } {
  return {
    'file.stat': async (channel, given) => {
      const { path, sha256 } = parseOrRefuse(agentVerbs['file.stat'].params, given, 'file.stat');
      await channel.send(await statFile(absolutePath(path, home), sha256, whileOpen(channel)));
      channel.end();
    },
    'file.list': async (channel, given) => {
      const { path, ...order } = parseOrRefuse(agentVerbs['file.list'].params, given, 'file.list');
      await listFolder({ path: absolutePath(path, home), ...order }, channel);
      channel.end();
    },
    'file.read': async (channel, given) => {
      const { path, from, max_bytes, version } = parseOrRefuse(
        agentVerbs['file.read'].params,
        given,
        'file.read',
      );
      await readFile({ path: absolutePath(path, home), from, maxBytes: max_bytes, version }, channel);
      channel.end();
    },
  };
}

/** Throws once nobody waits for the answer any more. */
function whileOpen(channel: Channel): () => void {
  return () => {
    if (channel.state === 'reset' || channel.state === 'closed')
      throw new RemoteError('cancelled', 'nobody waits for it any more');
  };
}
