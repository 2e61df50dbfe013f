import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ProcessTable } from '@codex-remote/platform';
import type { AgentService } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { type AgentHome, readAgentConfig } from '../home.ts';
import { BootLine } from '../service/boot-line.ts';
import { type Choice, chooseService } from '../service/choice.ts';
import type { ServiceHost } from '../service/host.ts';
import { readWishes, removeServices, serviceName, writeWishes } from '../service/installed.ts';
import { LaunchdAgent } from '../service/launchd.ts';
import { SystemdUnit } from '../service/systemd.ts';
import type { ServiceFacts } from '../service/unit.ts';
import { type DaemonState, runningDaemon } from './daemon-state.ts';
import { appointedKeeper } from './keeper.ts';
import { awaitDaemon, daemonWords, launchDetached } from './launch.ts';
import { endDaemon, stopDaemon } from './stop.ts';
import { rememberVersion, sweepStore } from './versions.ts';

export interface StartAnswer {
  readonly pid: number;
  /** It ran already, from this very bundle and kept in this way. */
  readonly already: boolean;
  readonly version: string;
  readonly service: AgentService;
  readonly warnings: readonly string[];
  /** Entries of the store that nobody needs any more. */
  readonly swept: readonly string[];
}

export interface StartOptions {
  readonly home: AgentHome;
  readonly bundle: string;
  readonly host: ServiceHost;
  /** Also after a reboot, by cron where nothing else does it; kept for later starts. */
  readonly boot: boolean;
}

/**
 * Makes the daemon of `bundle` serve, kept by the best that this host has. A daemon of another bundle gives way once this
 * one is loaded, and runs again when this one does not serve; its execs notice neither. Throws `agent_start_failed`.
 */
export async function startAgent(options: StartOptions): Promise<StartAnswer> {
  const { home, bundle, host } = options;
  if (options.boot) writeWishes(home, { boot: true });
  const choice = await chooseService(host);
  const running = runningDaemon(home);
  const already = running?.bundle === bundle && isKept(home, running, choice);
  const state = already ? running : await replace(options, choice, running);
  rememberVersion(home, { node: process.execPath, bundle });
  const boot = await settleBoot(options, choice);
  return {
    pid: state.pid,
    already,
    version: state.version,
    service: { kind: choice.kind, survives: { ...choice.survives, ...boot.survives }, note: choice.note },
    warnings: [...choice.warnings, ...boot.warnings],
    swept: sweepStore(home),
  };
}

/** Whether what keeps it is what was chosen, and is there. */
function isKept(home: AgentHome, running: DaemonState, { kind }: Choice): boolean {
  if (running.service !== kind) return false;
  return kind !== 'detached' || new ProcessTable().stat(running.pid)?.parent === appointedKeeper(home);
}

async function replace(
  options: StartOptions,
  choice: Choice,
  running: DaemonState | undefined,
): Promise<DaemonState> {
  try {
    return await launch(options, choice, running);
  } catch (error) {
    const failure = RemoteError.from(error);
    if (!running) throw failure;
    const back = await goBack(options, running);
    throw new RemoteError(
      'agent_start_failed',
      `${failure.message}; ${back ? `the one before it (${running.version}) serves` : 'the one before it did not start again either'}`,
      { ...failure.details, facts: { ...failure.details.facts, rolled_back: back } },
      failure,
    );
  }
}

/** One way of keeping at a time: what another way has of this home is removed before. */
async function launch(
  { home, bundle, host }: StartOptions,
  choice: Choice,
  running: DaemonState | undefined,
): Promise<DaemonState> {
  const name = serviceName(home);
  const changes = running !== undefined && running.service !== choice.kind;
  switch (choice.kind) {
    case 'systemd': {
      const unit = new SystemdUnit(host, choice.manager.units, name);
      if (!unit.installed || changes) await leave(host, home);
      try {
        await unit.start(facts(home, bundle, choice.kind));
        return await awaitDaemon(home, bundle, running, () => unit.failed());
      } catch (error) {
        await unit.remove();
        throw error;
      }
    }
    case 'launchd': {
      const agent = new LaunchdAgent(host, name);
      if (!agent.installed || changes) await leave(host, home);
      try {
        await agent.start(facts(home, bundle, choice.kind), choice.domain);
        return await awaitDaemon(home, bundle, running, async () => false);
      } catch (error) {
        await agent.remove();
        throw error;
      }
    }
    default:
      // A manager would start its own again; a keeper loses its appointment to the next.
      if (running?.service === 'systemd' || running?.service === 'launchd') await leave(host, home);
      return launchDetached({
        home,
        bundle,
        kept: choice.kind === 'detached',
        handOver: async () => {
          const before = runningDaemon(home);
          if (before) await endDaemon(before);
        },
      });
  }
}

async function leave(host: ServiceHost, home: AgentHome): Promise<void> {
  await removeServices(host, home);
  await stopDaemon(home);
}

/** Whether the daemon that ran before serves: it still does, or its own `start` brings it back. */
async function goBack({ home, host }: StartOptions, before: DaemonState): Promise<boolean> {
  if (new ProcessTable().isAlive(before)) return true;
  const node = before.node ?? process.execPath;
  const { status } = await host.run([node, before.bundle, 'start', '--home', home.path]);
  return status === 0;
}

/** The crontab line follows the bundle. Where a service manager starts the agent at boot none is wanted. */
async function settleBoot(
  { home, bundle, host }: StartOptions,
  choice: Choice,
): Promise<{ survives: Partial<AgentService['survives']>; warnings: string[] }> {
  if (choice.kind === 'bare') return { survives: {}, warnings: [] };
  const line = new BootLine(host, serviceName(home));
  if (choice.survives.reboot !== 'no') {
    if (readWishes(home).boot) await line.remove();
    return { survives: {}, warnings: [] };
  }
  if (!readWishes(home).boot)
    return {
      survives: {},
      warnings: ['a reboot ends the agent: --boot asks cron to start it again, or repeat machine up then'],
    };
  const keeper = join(dirname(bundle), 'keeper.sh');
  const why = await line.install(['/bin/sh', keeper, process.execPath, bundle, home.path]);
  if (why !== undefined)
    return { survives: {}, warnings: [`a reboot ends the agent: ${why}, which --boot needs`] };
  const running = await host.run(['pgrep', '-x', 'cron|crond']);
  return running.status === 0
    ? { survives: { reboot: 'yes' }, warnings: [] }
    : {
        survives: { reboot: 'unknown' },
        warnings: ['a crontab line starts the agent at boot, but no cron seems to run'],
      };
}

function facts(home: AgentHome, bundle: string, kind: AgentService['kind']): ServiceFacts {
  const machineId = readMachineId();
  return {
    machine: readAgentConfig(home).machine,
    name: serviceName(home),
    home: home.path,
    log: home.log,
    ...(machineId === undefined ? {} : { machineId }),
    argv: [process.execPath, ...daemonWords(home, bundle, ['--service', kind])],
  };
}

function readMachineId(): string | undefined {
  try {
    return /^[0-9a-f]{32}$/m.exec(readFileSync('/etc/machine-id', 'utf8'))?.[0];
  } catch {
    return undefined;
  }
}
