import { type AgentVerb, agentVerbs, type MachinePolicy } from '@codex-remote/protocol/schema';
import { type Channel, RemoteError } from '@codex-remote/protocol/wire';
import { makeFolder } from '../files/folders.ts';
import { listFolder } from '../files/list-folder.ts';
import { absolutePath } from '../files/path.ts';
import { readFile } from '../files/read-file.ts';
import { removeFile } from '../files/remove-file.ts';
import { statFile } from '../files/stat-file.ts';
import type { FileWriter } from '../files/write-file.ts';
import { mayChange } from './may-change.ts';
import { parseOrRefuse } from './parse.ts';
import { ReceivedFile } from './receive-file.ts';

export type FileVerb = Extract<AgentVerb, `file.${string}`>;

type Serve = (channel: Channel, params: unknown) => Promise<void>;

export interface FileWorld {
  /** Of the machine's user. */
  readonly home: string;
  /** Of the user's login. */
  umask(): Promise<number>;
  readonly writer: FileWriter;
  /** What of this machine may be changed. */
  policy(): MachinePolicy;
}

/** The verbs about files. */
export function fileVerbs({ home, umask, writer, policy }: FileWorld): {
  readonly [Verb in FileVerb]: Serve;
} {
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
    'file.write': async (channel, given) => {
      const { path, ...order } = parseOrRefuse(agentVerbs['file.write'].params, given, 'file.write');
      mayChange(policy());
      const wanted = { ...order, path: absolutePath(path, home), umask: await umask() };
      await channel.send(
        await writer.write(wanted, new ReceivedFile(channel, 'file.write'), whileOpen(channel)),
      );
      channel.end();
    },
    'file.remove': async (channel, given) => {
      const { path, recursive } = parseOrRefuse(agentVerbs['file.remove'].params, given, 'file.remove');
      mayChange(policy());
      const order = { path: absolutePath(path, home), recursive, home };
      await channel.send(await removeFile(order, whileOpen(channel)));
      channel.end();
    },
    'file.mkdir': async (channel, given) => {
      const { path, ...order } = parseOrRefuse(agentVerbs['file.mkdir'].params, given, 'file.mkdir');
      mayChange(policy());
      await channel.send(
        await makeFolder({ ...order, path: absolutePath(path, home), umask: await umask() }),
      );
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
