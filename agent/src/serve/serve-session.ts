import { arch, hostname, platform } from 'node:os';
import { failpoint, systemClock } from '@codex-remote/platform';
import { type AgentVerb, agentVerbs, type VerbReply } from '@codex-remote/protocol/schema';
import { type Channel, type Clock, RemoteError } from '@codex-remote/protocol/wire';
import type { Trust } from '../connect/known-endpoints.ts';
import type { FileWriter } from '../files/write-file.ts';
import { readLogs } from '../logs/read-logs.ts';
import type { ExecStore } from '../store/store.ts';
import { parseOrRefuse } from './parse.ts';
import { receiveStart } from './receive-start.ts';
import { serveReports } from './reports.ts';
import { artifactVerbs } from './serve-artifacts.ts';
import { fileVerbs } from './serve-files.ts';
import { gitVerbTable } from './serve-git.ts';
import { syncVerbTable } from './serve-sync.ts';

export interface ServeOptions {
  readonly store: ExecStore;
  readonly writer: FileWriter;
  readonly version: string;
  /** Ends the agent; called once the reply has gone out. */
  readonly stop: () => void;
  /** Notes by what the controller is known; to how many endpoints that applies. */
  readonly trust: (trust: Trust) => number;
  readonly clock?: Clock;
}

type Serve = (channel: Channel, params: unknown) => Promise<void>;

/**
 * What a session of the agent calls for each channel that the controller opens. A request that fails resets its channel
 * with the error; the session goes on.
 */
export function createHandler(
  options: ServeOptions,
): (channel: Channel, verb: string, params: unknown) => Promise<void> {
  const verbs = verbTable(options);
  return async (channel, verb, params) => {
    try {
      const serve = verbs.get(verb);
      if (!serve) throw new RemoteError('unknown_verb', `the agent does not know ${verb.slice(0, 64)}`);
      await serve(channel, params);
    } catch (error) {
      channel.reset(RemoteError.from(error));
    }
  };
}

/** A Map, so that no name of a prototype is a verb. */
function verbTable({
  store,
  writer,
  version,
  stop,
  trust,
  clock = systemClock,
}: ServeOptions): ReadonlyMap<string, Serve> {
  const table: { [Verb in AgentVerb]: Serve } = {
    ...fileVerbs({
      home: store.environment.user.home,
      umask: async () => (await store.environment.current()).umask,
      writer,
      policy: () => store.policy.get(),
    }),
    ...gitVerbTable({
      git: store.git,
      exec: (id) => store.get(id),
      policy: () => store.policy.get(),
    }),
    ...syncVerbTable({ home: store.environment.user.home, policy: () => store.policy.get() }),
    ...artifactVerbs(store),
    'agent.info': (channel) => reply<'agent.info'>(channel, info(store, version)),
    'agent.stop': async (channel) => {
      await reply<'agent.stop'>(channel, { running: store.runningIds() });
      stop();
    },
    'exec.start': async (channel, params) => {
      const { exec_id } = parseOrRefuse(agentVerbs['exec.start'].params, params, 'exec.start');
      const request = await receiveStart(channel, exec_id, store);
      const started = await store.start(request);
      if (failpoint('agent.start_reply.before')) return;
      await reply<'exec.start'>(channel, started);
      failpoint('agent.start_reply.after');
    },
    'exec.get': async (channel, params) => {
      const { exec_id, tail_bytes } = parseOrRefuse(agentVerbs['exec.get'].params, params, 'exec.get');
      await reply<'exec.get'>(channel, store.report(exec_id, Math.min(tail_bytes, maxTailBytes)));
    },
    'exec.logs': async (channel, params) => {
      const { exec_id, select } = parseOrRefuse(agentVerbs['exec.logs'].params, params, 'exec.logs');
      await readLogs({
        source: store.logSource(exec_id),
        select,
        sink: channel,
        clock,
        gone: channel.closed,
      });
      channel.end();
    },
    'exec.cancel': async (channel, params) => {
      const { exec_id, signal, grace_ms } = parseOrRefuse(
        agentVerbs['exec.cancel'].params,
        params,
        'exec.cancel',
      );
      await reply<'exec.cancel'>(channel, await store.cancel(exec_id, signal, grace_ms));
    },
    'queues.get': (channel, params) => {
      parseOrRefuse(agentVerbs['queues.get'].params, params, 'queues.get');
      return reply<'queues.get'>(channel, { queues: store.queues() });
    },
    'queues.set': (channel, params) => {
      const { concurrency } = parseOrRefuse(agentVerbs['queues.set'].params, params, 'queues.set');
      return reply<'queues.set'>(channel, { queues: store.setQueues(concurrency) });
    },
    'trust.set': (channel, params) => {
      const told = parseOrRefuse(agentVerbs['trust.set'].params, params, 'trust.set');
      return reply<'trust.set'>(channel, { endpoints: trust(told) });
    },
    'policy.get': (channel, params) => {
      parseOrRefuse(agentVerbs['policy.get'].params, params, 'policy.get');
      return reply<'policy.get'>(channel, { policy: store.policy.get() });
    },
    'policy.set': (channel, params) => {
      const { policy } = parseOrRefuse(agentVerbs['policy.set'].params, params, 'policy.set');
      return reply<'policy.set'>(channel, store.policy.narrow(policy));
    },
    'exec.reports': async (channel, params) => {
      parseOrRefuse(agentVerbs['exec.reports'].params, params, 'exec.reports');
      await serveReports(channel, store, clock);
    },
  };
  return new Map(Object.entries(table));
}

/** More than that of a stream is for who reads its log. */
const maxTailBytes = 28 * 1024;

async function reply<V extends AgentVerb>(channel: Channel, value: VerbReply<V>): Promise<void> {
  await channel.send(value);
  channel.end();
}

function info(store: ExecStore, version: string): VerbReply<'agent.info'> {
  const { user, kind } = store.environment;
  return {
    agent_version: version,
    pid: process.pid,
    shell: user.shell,
    home: user.home,
    user: user.name,
    os: platform(),
    arch: arch(),
    hostname: hostname(),
    running: store.runningIds().length,
    rss_bytes: process.memoryUsage.rss(),
    environment: kind,
  };
}
