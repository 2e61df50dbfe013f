import { closeSync, unlinkSync } from 'node:fs';
import {
  createLogger,
  failpoint,
  loadOrCreateIdentity,
  newId,
  ProcessTable,
  RotatingFile,
  systemClock,
  takeLock,
  writeDurableSync,
} from '@codex-remote/platform';
import { Connector } from '../connect/connector.ts';
import { closeInheritedDescriptors } from '../exec/descriptors.ts';
import { ExecStore } from '../exec/store.ts';
import { type AgentHome, readAgentConfig } from '../home.ts';
import { createHandler } from '../serve/serve-session.ts';
import { agentVersion } from '../version.ts';
import type { DaemonState } from './daemon-state.ts';

/** Where the one who started us waits: it is closed once we serve. */
const readyFd = 3;

export interface DaemonFiles {
  readonly bundle: string;
  readonly shim: string;
}

/**
 * The agent itself, until it is asked to stop. Its execs do not end with it: they have sessions of their own, and the next
 * daemon finds them by their folders. Throws `already_running` where another daemon has the home.
 */
export async function runDaemon(home: AgentHome, files: DaemonFiles): Promise<void> {
  const lock = takeLock(home.lock);
  const logFile = new RotatingFile(home.log);
  const log = createLogger(logFile);
  const clock = systemClock;
  const table = new ProcessTable();
  const stopping = Promise.withResolvers<void>();
  const config = readAgentConfig(home);
  const store = new ExecStore({ home: home.path, shim: files.shim, log });
  const connector = new Connector({
    clock,
    log,
    random: Math.random,
    self: {
      config,
      identity: loadOrCreateIdentity(home.key),
      bootId: table.bootId(),
      instanceId: newId(clock.wall()),
      version: agentVersion,
    },
    accept: createHandler({ store, version: agentVersion, stop: stopping.resolve }),
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stopping.resolve());
  process.on('SIGHUP', () => undefined);
  const start = table.stat(process.pid)?.start ?? 0;
  const state: DaemonState = {
    pid: process.pid,
    start,
    version: agentVersion,
    bundle: files.bundle,
    started_at: new Date(clock.wall()).toISOString(),
  };
  failpoint('agent.daemon_state.before');
  writeDurableSync(home.daemon, JSON.stringify(state));
  failpoint('agent.daemon_state.after');
  log.info({ version: agentVersion, running: store.runningIds().length }, 'agent started');
  closeSync(readyFd);
  closeInheritedDescriptors();

  const running = connector.run();
  await stopping.promise;
  log.info('agent stopping');
  connector.stop();
  await running;
  store.close();
  unlinkSync(home.daemon);
  logFile.close();
  lock.release();
}
