import { failpoint } from '@codex-remote/platform';
import {
  type AgentEndpoint,
  type AgentService,
  agentService,
  type DirectEndpoint,
  type MachinePolicy,
  type Stage,
} from '@codex-remote/protocol/schema';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import type { HostKeyEvent } from '../ssh/host-key-policy.ts';
import { LocalTransport } from '../ssh/local-transport.ts';
import { openTransport } from '../ssh/open-transport.ts';
import type { SshEnvironment } from '../ssh/openssh.ts';
import type { Ask } from '../ssh/question.ts';
import { resolveHost } from '../ssh/resolve.ts';
import type { HostTransport } from '../ssh/transport.ts';
import { answersWithin, type TunnelKind } from '../ssh/tunnel.ts';
import { runAgentCommand } from './agent-command.ts';
import { type Probe, placeWarnings, probeMachine, requireLastingPlace, requireRoom } from './probe.ts';
import { chooseRuntime, type RuntimeSources, requireSystemNode } from './runtime.ts';
import { type Note, Stages } from './stages.ts';
import { entryBytes, isStored, type StoreEntries, type StoreEntry } from './store-entry.ts';
import { type Coding, chooseCoding, uploadEntry } from './upload.ts';

/** How the machine is reached. */
export type Reach =
  | { readonly kind: 'local'; readonly env: Readonly<Record<string, string | undefined>> }
  | {
      readonly kind: 'ssh';
      /** `[user@]host[:port]` or a Host of the configuration. */
      readonly target: string;
      readonly environment: SshEnvironment;
      readonly transport?: 'ssh2' | 'system';
      readonly acceptHostKey?: string;
      /** Hears of host keys that are refused or stored. */
      readonly onHostKey?: (event: HostKeyEvent) => void;
      /** Where a person can be asked. */
      readonly ask?: Ask;
      /** A connection that is open already, used instead of a fresh one. It stays its owner's. */
      readonly live?: HostTransport;
    };

/** What `machine up` left on the machine. */
export interface Installed {
  readonly base: string;
  readonly home: string;
  readonly run_dir: string;
  readonly host_id: string;
  readonly agent_key: string;
  readonly version: string;
  /** Paths there. */
  readonly node: string;
  readonly agent: string;
}

/** Everything that `up` needs of the controller; what it calls is called in this order, each at most once. */
export interface UpContext {
  readonly clock: Clock;
  /** Gives the whole thing up. A caller that goes away does not: the controller does the work. */
  readonly signal: AbortSignal;
  readonly machine: string;
  readonly reach: Reach;
  /** Base on the machine, as the user gave it; absent = the machine's own default. */
  readonly agentHome?: string;
  readonly systemNode?: boolean;
  /** Also after a reboot, by cron where nothing else does it. */
  readonly boot?: boolean;
  readonly runtimes: RuntimeSources;
  /** Shared between calls: it remembers hashes. */
  readonly entries: StoreEntries;
  /** Paths here of the files of the agent bundle; `agent.mjs` among them. */
  readonly bundle: readonly string[];
  readonly controllerId: string;
  readonly controllerKey: string;
  /** What the machine is to let start: here it is also widened. Absent: nobody has set one, and what the agent has stays. */
  readonly policy?: MachinePolicy;
  readonly endpoints: 'tunnel' | readonly AgentEndpoint[];
  /** Where the agent can dial us without a tunnel too. */
  readonly direct?: DirectEndpoint;
  /** Default: by the distance of the machine. */
  readonly coding?: Coding;
  /** The key must be known before the agent starts: it dials at once. */
  readonly registerKey: (installed: Installed) => Promise<void>;
  /**
   * Opens the way by which the agent dials; not called where `endpoints` are given. `fresh` becomes the callee's; it is
   * absent where `live` was used, whose tunnel is to be kept or replaced.
   */
  readonly openTunnel: (installed: Installed, fresh: HostTransport | undefined) => Promise<TunnelKind>;
  /** Settles when the agent has a session. Throws `agent_start_failed`. */
  readonly awaitDialIn: (installed: Installed) => Promise<void>;
  readonly canary: () => Promise<{ readonly ms: number; readonly warnings: readonly string[] }>;
  readonly onStage: (stage: Stage) => void;
}

export interface UpResult {
  readonly installed: Installed;
  readonly connection: TunnelKind | 'local';
  /** What keeps the agent running there. */
  readonly service?: AgentService;
  /** Nothing had to be uploaded or started. */
  readonly already_up: boolean;
  readonly stages: readonly Stage[];
  readonly duration_ms: number;
  readonly warnings: readonly string[];
}

const initReply = z.object({
  home: z.string().startsWith('/'),
  run_dir: z.string().startsWith('/'),
  host_id: z.string().min(1).max(64),
  agent_key: z.string().length(43),
  version: z.string().max(64),
});
const startReply = z.object({
  pid: z.number(),
  already: z.boolean(),
  version: z.string(),
  service: agentService.optional(),
  warnings: z.array(z.string()).default([]),
});
/** A start waits for the agent before it to end, for the new one to serve, and for that one's return where it does not. */
const startIdleMs = 90_000;

/** How long a connection that exists may take to answer before a fresh one is made. */
const liveAnswerMs = 3_000;

/**
 * Brings a machine up: whatever is missing there is put in place, its agent runs, dials in and runs a test command. Safe
 * to repeat, and quick when all is in place; calls for one machine are to take turns. Throws the first failure, with the
 * stage in its facts.
 */
export async function up(context: UpContext): Promise<UpResult> {
  const { clock, signal, machine, reach } = context;
  const began = clock.monotonic();
  const stages = new Stages(machine, clock, context.onStage);
  // A connection that has died unnoticed must not cost more than a fresh one.
  const standing = reach.kind === 'ssh' ? reach.live : undefined;
  const live =
    standing !== undefined && (await answersWithin(standing, clock, liveAnswerMs)) ? standing : undefined;
  const fresh = await connect(stages, context, live);
  const transport = fresh ?? live;
  if (transport === undefined) throw new RemoteError('internal', 'no way to the machine');
  // Ours until the tunnel has it.
  let owned = fresh;
  try {
    const probe = await stages.run('probe', (note) => look(transport, context, note));
    const { node, agent, uploaded } = await stages.run('upload', (note) =>
      place(transport, probe, context, note),
    );
    const installed = await stages.run('init', async (): Promise<Installed> => {
      const input = JSON.stringify({
        base: probe.base,
        machine,
        controller_id: context.controllerId,
        controller_key: context.controllerKey,
        endpoints: context.endpoints,
        ...(context.direct && { direct: context.direct }),
        ...(context.policy && { policy: context.policy }),
      });
      const reply = present(
        await runAgentCommand(transport, { node, agent }, ['init'], initReply, { clock, signal, input }),
      );
      const all = { ...reply, base: probe.base, node, agent };
      await context.registerKey(all);
      return all;
    });
    const started = await stages.run('start', async (note) => {
      const reply = present(
        await runAgentCommand(
          transport,
          installed,
          ['start', '--home', installed.home, ...(context.boot ? ['--boot'] : [])],
          startReply,
          { clock, signal, idleMs: startIdleMs },
        ),
      );
      const kept = reply.service === undefined ? '' : `, ${reply.service.kind}`;
      note(`${reply.already ? 'runs already, ' : ''}pid ${reply.pid}${kept}`);
      return reply;
    });
    let connection: UpResult['connection'] = 'local';
    if (context.endpoints === 'tunnel') {
      owned = undefined;
      connection = await stages.run('tunnel', async (note) => {
        const kind = await context.openTunnel(installed, fresh);
        note(kind);
        return kind;
      });
    } else {
      stages.skip('tunnel', 'the agent dials by itself');
    }
    await stages.run('dial_in', () => context.awaitDialIn(installed));
    const { warnings } = await stages.run('canary', async (note) => {
      const result = await context.canary();
      note(`${Math.round(result.ms)} ms`);
      return result;
    });
    return {
      installed,
      connection,
      ...(started.service === undefined ? {} : { service: started.service }),
      already_up: !uploaded && started.already,
      stages: stages.done,
      duration_ms: Math.round(clock.monotonic() - began),
      warnings: [...placeWarnings(probe), ...started.warnings, ...warnings],
    };
  } finally {
    await owned?.close();
  }
}

/** A connection of our own, or undefined where `live` is to be used. */
async function connect(
  stages: Stages,
  { clock, signal, reach }: UpContext,
  live: HostTransport | undefined,
): Promise<HostTransport | undefined> {
  if (reach.kind === 'local') {
    stages.skip('resolve', 'this host');
    stages.skip('connect', 'this host');
    return new LocalTransport(reach.env);
  }
  if (live !== undefined) {
    stages.skip('resolve', 'connected');
    stages.skip('connect', live.description);
    return undefined;
  }
  const host = await stages.run('resolve', () => resolveHost(reach.target, reach.environment));
  return stages.run('connect', async (note) => {
    const transport = await openTransport(host, {
      clock,
      signal,
      environment: reach.environment,
      ...(reach.transport === undefined ? {} : { transport: reach.transport }),
      ...(reach.onHostKey === undefined ? {} : { onHostKey: reach.onHostKey }),
      ...(reach.acceptHostKey === undefined ? {} : { acceptHostKey: reach.acceptHostKey }),
      ...(reach.ask === undefined ? {} : { ask: reach.ask }),
    });
    note(`${transport.description}, ${transport.kind}`);
    return transport;
  });
}

async function look(transport: HostTransport, context: UpContext, note: Note): Promise<Probe> {
  const { clock, signal, agentHome, systemNode } = context;
  const probe = await probeMachine(transport, {
    clock,
    signal,
    ...(agentHome === undefined ? {} : { agentHome }),
    ...(systemNode === undefined ? {} : { systemNode }),
  });
  note(`${probe.os} ${probe.arch} ${probe.libc}`.trim());
  requireLastingPlace(probe);
  return probe;
}

interface Placed {
  /** Paths there. */
  readonly node: string;
  readonly agent: string;
  readonly uploaded: boolean;
}

/** Puts what is missing into the store. */
async function place(
  transport: HostTransport,
  probe: Probe,
  context: UpContext,
  note: Note,
): Promise<Placed> {
  const { clock, signal, entries } = context;
  const inStore = (entry: StoreEntry, file: string): string => `${probe.base}/store/${entry.name}/${file}`;
  const bundle = await entries.bundle('agent', context.bundle);
  const runtime = context.systemNode
    ? undefined
    : await entries.program('node', chooseRuntime(probe, context.runtimes), 'node');
  const node = runtime === undefined ? requireSystemNode(probe) : inStore(runtime, 'node');
  const missing = (runtime === undefined ? [bundle] : [runtime, bundle]).filter(
    (entry) => !isStored(entry, probe),
  );
  const bytes = missing.reduce((sum, entry) => sum + entryBytes(entry), 0);
  // Also when nothing is missing: the place may have become unusable since.
  requireRoom(probe, bytes);
  const placed = { node, agent: inStore(bundle, 'agent.mjs'), uploaded: missing.length > 0 };
  if (missing.length === 0) {
    note.skipped('in place');
    return placed;
  }
  const coding = context.coding ?? (await chooseCoding(transport, probe, clock));
  let before = 0;
  let noted = clock.monotonic();
  for (const entry of missing) {
    const onProgress = (sent: number): void => {
      if (clock.monotonic() - noted < noteEveryMs) return;
      noted = clock.monotonic();
      note(`${Math.floor(((before + sent) / bytes) * 100)} % of ${megabytes(bytes)}, ${coding}`);
    };
    const placer = entry === runtime ? {} : { node };
    failpoint('controller.upload.before');
    await uploadEntry(transport, entry, probe, { clock, signal, coding, onProgress, ...placer });
    failpoint('controller.upload.after');
    before += entryBytes(entry);
  }
  note(`${megabytes(bytes)}, ${coding}`);
  return placed;
}

const noteEveryMs = 500;

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function present<T>(value: T | undefined): T {
  if (value === undefined)
    throw new RemoteError('bootstrap_failed', 'what was uploaded is not there any more', {
      hint: 'repeat; something on the machine removes it',
    });
  return value;
}
