import { rmSync, unlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  closeInheritedDescriptors,
  createLogger,
  failpoint,
  type Lock,
  loadOrCreateIdentity,
  newId,
  ProcessTable,
  RotatingFile,
  sweepTemporary,
  systemClock,
  takeLock,
  writePaddedSync,
} from '@codex-remote/platform';
import type { AgentService } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { Connector } from '../connect/connector.ts';
import { JoinTokenFile } from '../connect/join-token-file.ts';
import { KnownEndpoints } from '../connect/known-endpoints.ts';
import { writeLinkState } from '../connect/link-state.ts';
import { ProtocolFloor } from '../connect/protocol-floor.ts';
import { FileWriter } from '../files/write-file.ts';
import { type AgentHome, readAgentConfig } from '../home.ts';
import { createHandler } from '../serve/serve-session.ts';
import { ExecStore } from '../store/store.ts';
import { agentVersion } from '../version.ts';
import { type DaemonState, daemonStateBytes } from './daemon-state.ts';
import { appointedKeeper } from './keeper.ts';
import type { ReadyPipe } from './ready-pipe.ts';

export interface DaemonOptions {
  /** Paths of what it runs from. */
  readonly bundle: string;
  readonly shim: string;
  /** What keeps it running. */
  readonly service: AgentService['kind'];
  /** Pid of the keeper that started it. */
  readonly keeper?: number;
  readonly ready: ReadyPipe;
}

/** How long it waits for the agent before it to end: one whose starter ends that, and one that was started again. */
const handoverMs = 15_000;
const againMs = 2_000;
const pollMs = 5;

/**
 * The agent itself, until it is asked to stop. Its execs do not end with it: they have sessions of their own, and the next
 * daemon finds them by their folders. Returns at once where it is not wanted: another daemon has the home and keeps it, or
 * another keeper was appointed. Whoever started it takes that for an end, not for a crash.
 */
export async function runDaemon(home: AgentHome, options: DaemonOptions): Promise<void> {
  const lock = await waitForHome(home, options.ready);
  if (!lock) return;
  // With the lock held: who takes the appointment away looks at the lock afterwards.
  if (options.keeper !== undefined && appointedKeeper(home) !== options.keeper) return lock.release();
  sweepTemporary(home.path);
  const logFile = new RotatingFile(home.log);
  const log = createLogger(logFile);
  const clock = systemClock;
  const table = new ProcessTable();
  const stopping = Promise.withResolvers<void>();
  const config = readAgentConfig(home);
  const store = new ExecStore({ home: home.path, shim: options.shim, log });
  const endpoints = new KnownEndpoints(home, config);
  const connector = new Connector({
    endpoints: () => endpoints.list(),
    clock,
    log,
    random: Math.random,
    self: {
      config,
      identity: loadOrCreateIdentity(home.key),
      joinToken: new JoinTokenFile(home.joinToken),
      floor: new ProtocolFloor(home.protocolFloor),
      bootId: table.bootId(),
      instanceId: newId(clock.wall()),
      version: agentVersion,
    },
    onLink: (connected, error) => writeLinkState(home.link, connected, error),
    accept: createHandler({
      store,
      writer: new FileWriter(home.writes),
      version: agentVersion,
      stop: stopping.resolve,
      trust: (trust) => endpoints.trust(trust),
    }),
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stopping.resolve());
  process.on('SIGHUP', () => undefined);
  const start = table.stat(process.pid)?.start ?? 0;
  const state: DaemonState = {
    pid: process.pid,
    start,
    version: agentVersion,
    bundle: options.bundle,
    node: process.execPath,
    service: options.service,
    started_at: new Date(clock.wall()).toISOString(),
  };
  failpoint('agent.daemon_state.before');
  writePaddedSync(home.daemon, JSON.stringify(state), daemonStateBytes);
  failpoint('agent.daemon_state.after');
  log.info(
    { version: agentVersion, running: store.runningIds().length, queued: store.queuedIds().length },
    'agent started',
  );
  options.ready.serves();
  closeInheritedDescriptors();

  const running = connector.run();
  await stopping.promise;
  log.info('agent stopping');
  connector.stop();
  await running;
  store.close();
  unlinkSync(home.daemon);
  rmSync(home.link, { force: true });
  logFile.close();
  lock.release();
}

/** Undefined where another agent keeps the home. */
async function waitForHome(home: AgentHome, ready: ReadyPipe): Promise<Lock | undefined> {
  const limitMs = ready.open ? handoverMs : againMs;
  const until = performance.now() + limitMs;
  for (let first = true; ; first = false) {
    try {
      return takeLock(home.lock);
    } catch (error) {
      if (RemoteError.from(error).code !== 'already_running') throw error;
      if (performance.now() > until) return undefined;
    }
    if (first) ready.standingBy();
    await sleep(pollMs);
  }
}
