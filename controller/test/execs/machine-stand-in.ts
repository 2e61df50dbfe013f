import { systemClock } from '@codex-remote/platform';
import type { ExecState, Hello } from '@codex-remote/protocol/schema';
import { type Channel, type Clock, RemoteError, Session } from '@codex-remote/protocol/wire';
import { pipe } from '../../../packages/protocol/test/support/pipe.ts';
import { ExecChanges } from '../../src/execs/changes.ts';
import { Execs } from '../../src/execs/execs.ts';
import { SqliteHistory } from '../../src/history/sqlite-history.ts';
import { Links } from '../../src/links/links.ts';
import type { MachineRecord, Registry } from '../../src/registry/registry.ts';

type Serve = (channel: Channel, verb: string, params: unknown) => unknown;

/** Execs of a controller with its history, and machines over real sessions that answer as told. */
export function execsWorld(names: readonly string[], clock: Clock = systemClock) {
  const machines = names.map(record);
  const registry: Registry = {
    list: () => machines,
    get: (name) => machines.find((machine) => machine.name === name),
    add: () => Promise.reject(new Error('not here')),
    update: () => Promise.reject(new Error('not here')),
    commit: () => Promise.reject(new Error('not here')),
    remove: () => Promise.reject(new Error('not here')),
  };
  const links = new Links(systemClock);
  const history = new SqliteHistory(':memory:', systemClock);
  const changes = new ExecChanges();
  const execs = new Execs({ registry, links, history, changes, clock });
  return {
    execs,
    history,
    links,
    registry,
    changes,
    /** Connects the machine; every channel is given to `serve`, an answer is sent back. Returns how to break it. */
    connect(name: string, serve: Serve, capabilities: readonly string[] = ['queues']): () => void {
      const { agentEnd, controllerEnd } = pipe();
      new Session({
        transport: agentEnd,
        side: 'agent',
        clock: systemClock,
        accept: (channel, verb, params) => void answer(channel, () => serve(channel, verb, params)),
      });
      const session = new Session({ transport: controllerEnd, side: 'controller', clock: systemClock });
      links.of(name).attach(session, {
        connection: 'tunnel',
        connectedSince: '',
        hello: { instance_id: 'i', capabilities } as unknown as Hello,
      });
      return () => session.end(new RemoteError('peer_silent', 'gone'));
    },
    close() {
      links.closeAll();
      history.close();
    },
  };
}

async function answer(channel: Channel, serve: () => unknown): Promise<void> {
  try {
    const value = await serve();
    if (value === undefined) return;
    await channel.send(value);
    channel.end();
  } catch (error) {
    channel.reset(RemoteError.from(error));
  }
}

function record(name: string): MachineRecord {
  const installation = {
    agent_key: 'k',
    host_id: 'h',
    home: '/h',
    run_dir: '/r',
    base: '/b',
    node: '/n',
    bundle: '/a',
    connection: 'tunnel' as const,
  };
  return { name, added_at: '2026-01-01T00:00:00.000Z', ssh_memory: {}, installation };
}

const common = {
  digest: 'd',
  mode: 'async',
  command: 'true',
  accepted_at: '2026-01-01T00:00:00.000Z',
  stdout_bytes: 0,
  stderr_bytes: 0,
} as const;

export const running = (exec_id: string): ExecState => ({ ...common, exec_id, status: 'running' });

export const finished = (exec_id: string): ExecState => ({
  ...common,
  exec_id,
  status: 'finished',
  reason: 'exited',
  exit_code: 0,
  ended_at: '2026-01-01T00:00:01.000Z',
  duration_ms: 1000,
});

export const unknownExec = (): never => {
  throw new RemoteError('exec_not_found', 'exec_id not found');
};
