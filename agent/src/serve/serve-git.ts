import {
  type AgentVerb,
  agentVerbs,
  type ExecState,
  type MachinePolicy,
  type VerbReply,
} from '@codex-remote/protocol/schema';
import type { Channel } from '@codex-remote/protocol/wire';
import type { GitParts } from '../git/git-parts.ts';
import { sendDiff } from '../git/send-diff.ts';
import { mayChange } from './may-change.ts';
import { parseOrRefuse } from './parse.ts';
import { ReceivedFile } from './receive-file.ts';

export type GitVerb = Extract<AgentVerb, `git.${string}` | 'exec.diff'>;

type Serve = (channel: Channel, params: unknown) => Promise<void>;

export interface GitVerbWorld {
  readonly git: GitParts;
  /** Throws `exec_not_found`. */
  exec(id: string): ExecState;
  /** What of this machine may be changed. */
  policy(): MachinePolicy;
}

/** The verbs about projects and their commits. */
export function gitVerbTable({ git, exec, policy }: GitVerbWorld): { readonly [Verb in GitVerb]: Serve } {
  const { projects, results, worktrees } = git;
  return {
    'git.have': async (channel, given) => {
      const params = parseOrRefuse(agentVerbs['git.have'].params, given, 'git.have');
      await reply<'git.have'>(channel, await projects.have(params));
    },
    'git.receive': async (channel, given) => {
      const params = parseOrRefuse(agentVerbs['git.receive'].params, given, 'git.receive');
      mayChange(policy());
      const body = new ReceivedFile(channel, 'git.receive');
      await reply<'git.receive'>(channel, await projects.receive(params, body, whileOpen(channel)));
    },
    'git.fetch': async (channel, given) => {
      const params = parseOrRefuse(agentVerbs['git.fetch'].params, given, 'git.fetch');
      mayChange(policy());
      await reply<'git.fetch'>(channel, await projects.fetch(params, whileOpen(channel)));
    },
    'git.remove': async (channel, given) => {
      const { project } = parseOrRefuse(agentVerbs['git.remove'].params, given, 'git.remove');
      mayChange(policy());
      await reply<'git.remove'>(channel, { removed: await worktrees.removeProject(project) });
    },
    'exec.diff': async (channel, given) => {
      const { exec_id, result, ...order } = parseOrRefuse(agentVerbs['exec.diff'].params, given, 'exec.diff');
      const gone = whileOpen(channel);
      const { mirror, head } = await results.of(exec(exec_id), result, gone);
      await sendDiff(mirror, head, order, channel, gone);
      channel.end();
    },
  };
}

async function reply<V extends GitVerb>(channel: Channel, value: VerbReply<V>): Promise<void> {
  await channel.send(value);
  channel.end();
}

/** Aborted once nobody waits for the answer any more. */
function whileOpen(channel: Channel): AbortSignal {
  const gone = new AbortController();
  void channel.closed.then(
    () => gone.abort(),
    () => gone.abort(),
  );
  return gone.signal;
}
