import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { failpoint, ProcessTable, withoutJobMarks } from '@codex-remote/platform';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { AgentHome } from '../home.ts';
import { largeBlocks, youngGeneration } from '../service/memory.ts';
import { type DaemonState, runningDaemon } from './daemon-state.ts';
import { appointedKeeper, appointKeeper } from './keeper.ts';
import { readyWord } from './ready-pipe.ts';

/** From spawn to serving; reading ten thousand exec folders is the slow part. */
const readyMs = 20_000;
const pollMs = 20;

export interface Launch {
  readonly home: AgentHome;
  readonly bundle: string;
  /** A shell loop starts it again after a crash. */
  readonly kept: boolean;
  /** Ends the agent that has the home now; called once the new one waits for it. */
  readonly handOver: () => Promise<void>;
}

/** A daemon in its own session, with no descriptor of ours; resolves once it serves. Throws `agent_start_failed`. */
export function launchDetached({ home, bundle, kept, handOver }: Launch): Promise<DaemonState> {
  const appointed = appointedKeeper(home);
  const child = kept
    ? spawnDetached(home, '/bin/sh', [
        join(dirname(bundle), 'keeper.sh'),
        process.execPath,
        bundle,
        home.path,
      ])
    : spawnDetached(
        home,
        process.execPath,
        daemonWords(home, bundle, ['--service', 'bare', '--ready-fd', '3']),
      );
  const ready = child.stdio[3] as Readable;
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      settle();
      // A keeper ends its agent first.
      child.kill('SIGTERM');
      if (kept) appointKeeper(home, appointed);
      reject(notStarted(home, why));
    };
    const timer = setTimeout(() => fail(`it was not ready within ${readyMs} ms`), readyMs);
    const settle = (): void => {
      clearTimeout(timer);
      child.removeAllListeners();
      ready.destroy();
      child.unref();
    };
    child.once('error', (error) => fail(error.message));
    let serves = false;
    ready.setEncoding('latin1').on('data', (words: string) => {
      serves ||= words.includes(readyWord.serves);
      if (words.includes(readyWord.standsBy))
        handOver().catch((error: unknown) => fail(RemoteError.from(error).message));
    });
    // It closes the pipe without having served only when it failed, or when another keeps the home.
    ready.once('close', () => {
      const state = runningDaemon(home);
      if (state?.bundle !== bundle || (!serves && isOf(child, state))) return fail('it ended at once');
      settle();
      resolve(state);
    });
  });
}

/** The daemon that `child` is, or keeps. */
function isOf({ pid }: ChildProcess, daemon: DaemonState): boolean {
  const stat = new ProcessTable().stat(daemon.pid);
  return stat === undefined || daemon.pid === pid || stat.parent === pid;
}

/** After a service manager was told to start it. `failed`: the manager says that it will not. Throws `agent_start_failed`. */
export async function awaitDaemon(
  home: AgentHome,
  bundle: string,
  before: DaemonState | undefined,
  failed: () => Promise<boolean>,
): Promise<DaemonState> {
  for (let waited = 0; waited < readyMs; waited += pollMs) {
    const state = runningDaemon(home);
    if (state?.bundle === bundle && state.pid !== before?.pid) return state;
    if (waited % 200 === 0 && (await failed())) throw notStarted(home, 'it ended at once');
    await sleep(pollMs);
  }
  throw notStarted(home, `it was not ready within ${readyMs} ms`);
}

/** What Node is given to run a daemon. */
export function daemonWords(home: AgentHome, bundle: string, more: readonly string[]): string[] {
  return [youngGeneration, bundle, 'daemon', '--home', home.path, ...more];
}

function spawnDetached(home: AgentHome, program: string, args: readonly string[]): ChildProcess {
  const log = openSync(home.log, 'a', 0o600);
  try {
    failpoint('agent.daemon_spawn.before');
    const child = spawn(program, args, {
      detached: true,
      cwd: '/',
      env: { ...withoutJobMarks(process.env), [largeBlocks.name]: largeBlocks.value },
      stdio: ['ignore', log, log, 'pipe'],
    });
    failpoint('agent.daemon_spawn.after');
    return child;
  } finally {
    closeSync(log);
  }
}

function notStarted(home: AgentHome, why: string): RemoteError {
  return new RemoteError('agent_start_failed', `the agent did not start: ${why}`, {
    hint: `look at ${home.log} on the machine`,
    facts: { log_tail: logTail(home.log) },
  });
}

function logTail(path: string): string {
  try {
    return readFileSync(path, 'utf8').slice(-1000);
  } catch {
    return '';
  }
}
