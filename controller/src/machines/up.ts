import {
  type DirectEndpoint,
  localMachine,
  type MachinePolicy,
  type MachineUp,
  type MachineUpResult,
  type SshContext,
  type Stage,
} from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import {
  type Installed,
  ownRuntimes,
  type Reach,
  StoreEntries,
  type UpResult,
  up,
} from '../bootstrap/index.ts';
import type { ConnectionKind, MachineRecord, PlacedInstallation } from '../registry/registry.ts';
import type { Ask, HostTransport } from '../ssh/index.ts';
import { bundleFiles } from './bundle.ts';
import { canaryMs, runCanary } from './canary.ts';
import { hostKeyNotes } from './host-key-notes.ts';
import { localAgentBase, type MachineWorld } from './machines.ts';
import { environmentOf, memoryOf, sshTarget } from './ssh-access.ts';

/** From the agent's start, or its tunnel's, to its handshake. */
const dialInMs = 20_000;
/** An SSH connection, or a refusal of forwarding and a bridge. */
const tunnelMs = 15_000;

/** Hashes of what we bring, computed once per process. */
const entries = new StoreEntries();

/** One bring-up of one machine: connects the stages of `bootstrap` to registry, tunnels and sessions. */
export class MachineBringUp {
  readonly #world: MachineWorld;
  readonly #machine: MachineRecord;
  readonly #request: MachineUp;
  readonly #context: SshContext;
  readonly #onStage: (stage: Stage) => void;
  readonly #ask: Ask;
  /** Where the standing tunnel puts its sockets. */
  readonly #runDirBefore: string | undefined;
  /** A bring-up is never withdrawn: whoever asked for it may be gone. */
  readonly #signal = new AbortController().signal;

  constructor(
    world: MachineWorld,
    machine: MachineRecord,
    request: MachineUp,
    context: SshContext,
    onStage: (stage: Stage) => void,
    ask: Ask,
  ) {
    this.#world = world;
    this.#machine = machine;
    this.#request = request;
    this.#context = context;
    this.#onStage = onStage;
    this.#ask = ask;
    this.#runDirBefore = world.registry.get(machine.name)?.installation?.run_dir;
  }

  async run(): Promise<MachineUpResult> {
    const { clock, controllerId, controllerKey, paths, bundleDir, execs, changes, links } = this.#world;
    const machine = this.#machine;
    const local = this.#isLocal();
    const agentHome = machine.agent_home ?? (local ? localAgentBase(paths) : undefined);
    const result = await up({
      clock,
      signal: this.#signal,
      machine: machine.name,
      reach: this.#reach(),
      runtimes: ownRuntimes,
      entries,
      bundle: bundleFiles(bundleDir),
      controllerId,
      controllerKey,
      ...this.#policy(),
      endpoints: local ? [{ kind: 'unix', path: paths.agentSocket }] : 'tunnel',
      ...(!local && this.#direct()),
      registerKey: (installed) => this.#register(installed),
      openTunnel: (installed, fresh) => this.#openTunnel(installed, fresh),
      awaitDialIn: () => this.#awaitDialIn(),
      // An agent that has several ways may leave the first for a better one just now.
      canary: () =>
        runCanary({
          execs,
          changes,
          clock,
          machine: machine.name,
          connectWaitMs: canaryMs,
          signal: this.#signal,
        }),
      onStage: this.#onStage,
      ...(agentHome === undefined ? {} : { agentHome }),
      ...(this.#request.boot === undefined ? {} : { boot: this.#request.boot }),
      ...(this.#request.system_node === undefined ? {} : { systemNode: this.#request.system_node }),
    });
    await this.#remember(result);
    const live = links.of(machine.name).live?.info;
    return {
      machine: machine.name,
      // Its tunnel stands; the agent may have been quicker on another way.
      connection: live?.connection ?? result.connection,
      agent_version: live?.hello.agent_version ?? result.installed.version,
      ...(result.service === undefined ? {} : { service: result.service }),
      already_up: result.already_up,
      stages: [...result.stages],
      duration_ms: result.duration_ms,
      warnings: [...result.warnings],
    };
  }

  /** Only one that was set: an agent of before there were policies refuses what it does not know. */
  #policy(): { policy?: MachinePolicy } {
    const policy = this.#world.registry.get(this.#machine.name)?.policy;
    return policy === undefined ? {} : { policy };
  }

  /** What lets the machine outlive the loss of its tunnel. */
  #direct(): { direct?: DirectEndpoint } {
    const address = this.#world.address();
    if (!address) return {};
    const { url, certificates, spki_sha256 } = address;
    return {
      direct: {
        kind: 'wss',
        url: url.replace(/^https:/, 'wss:'),
        certificates: [...certificates],
        spki_sha256: [...spki_sha256],
      },
    };
  }

  #isLocal(): boolean {
    return this.#machine.name === localMachine && this.#machine.ssh === undefined;
  }

  #reach(): Reach {
    if (this.#isLocal()) return { kind: 'local', env: process.env };
    const { accept_host_key, transport } = this.#context;
    const live = this.#sameWay() ? this.#world.tunnels.get(this.#machine.name)?.transport : undefined;
    return {
      kind: 'ssh',
      target: sshTarget(this.#machine),
      environment: environmentOf(this.#context),
      onHostKey: hostKeyNotes(this.#world.audit, this.#machine.name),
      ...(transport === undefined ? {} : { transport }),
      ...(accept_host_key === undefined ? {} : { acceptHostKey: accept_host_key }),
      ...(this.#request.interactive ? { ask: this.#ask } : {}),
      ...(live === undefined ? {} : { live }),
    };
  }

  /** The connection that stands is the one this request would make: nothing about the way was said anew. */
  #sameWay(): boolean {
    const before = this.#world.registry.get(this.#machine.name);
    const memory = memoryOf(this.#context);
    return (
      before !== undefined &&
      before.ssh === this.#machine.ssh &&
      this.#context.accept_host_key === undefined &&
      before.ssh_memory.config_path === memory.config_path &&
      before.ssh_memory.transport === memory.transport
    );
  }

  /** Durable before the agent starts: it dials at once, and its key must be known then. */
  async #register(installed: Installed): Promise<void> {
    const { registry } = this.#world;
    if (!registry.get(this.#machine.name)) await registry.add({ ...this.#machine });
    const installation = installationOf(installed, this.#isLocal() ? 'local' : 'tunnel');
    await registry.update(this.#machine.name, (record) => {
      if (this.#machine.ssh !== undefined) record.ssh = this.#machine.ssh;
      if (this.#machine.agent_home !== undefined) record.agent_home = this.#machine.agent_home;
      const service = record.installation?.service;
      record.installation = { ...installation, ...(service && { service }) };
      delete record.down_at;
      record.ssh_memory = memoryOf(this.#context);
    });
  }

  async #openTunnel(installed: Installed, fresh: HostTransport | undefined): Promise<'tunnel' | 'bridge'> {
    const { tunnels, registry, clock } = this.#world;
    const machine = registry.get(this.#machine.name) ?? this.#machine;
    const standing = tunnels.get(machine.name);
    // Where the standing connection was used its tunnel is kept: it serves the same folder.
    const tunnel =
      fresh === undefined && standing !== undefined && installed.run_dir === this.#runDirBefore
        ? standing
        : await tunnels.open(machine, installationOf(installed, 'tunnel'), {
            ...(fresh === undefined ? {} : { initial: fresh }),
            bridgeOnly: this.#request.bridge === true,
          });
    const deadline = new AbortController();
    const timer = clock.setTimer(tunnelMs, () => deadline.abort());
    try {
      return await tunnel.opened(deadline.signal);
    } finally {
      timer.cancel();
    }
  }

  async #awaitDialIn(): Promise<void> {
    const link = this.#world.links.of(this.#machine.name);
    link.agentReplaced();
    await link.session(dialInMs, this.#signal).catch((error: unknown) => {
      throw new RemoteError(
        'agent_start_failed',
        `the agent of ${this.#machine.name} runs but did not dial in within ${dialInMs} ms`,
        {
          machine: this.#machine.name,
          hint: "look at agent.log in the agent's home there (`codex-remote machine show` names it)",
        },
        error,
      );
    });
  }

  async #remember({ connection, service }: UpResult): Promise<void> {
    const now = new Date(this.#world.clock.wall()).toISOString();
    const version = this.#world.links.of(this.#machine.name).live?.info.hello.agent_version;
    await this.#world.registry.update(this.#machine.name, (record) => {
      if (record.installation)
        record.installation = { ...record.installation, connection, ...(service && { service }) };
      record.last_seen_at = now;
      if (version !== undefined) record.agent_version = version;
      if (connection === 'local') return;
      record.ssh_ok = true;
      record.ssh_checked_at = now;
    });
  }
}

function installationOf(installed: Installed, connection: ConnectionKind): PlacedInstallation {
  return {
    agent_key: installed.agent_key,
    host_id: installed.host_id,
    home: installed.home,
    run_dir: installed.run_dir,
    base: installed.base,
    node: installed.node,
    bundle: installed.agent,
    connection,
  };
}
