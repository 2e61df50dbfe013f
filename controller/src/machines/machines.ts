import { join } from 'node:path';
import type { ControllerPaths, Logger } from '@codex-remote/platform';
import {
  localMachine,
  type MachineAdd,
  type MachineCheck,
  type MachineDownResult,
  type MachineUp,
  type MachineUpResult,
  type MachineView,
  namePattern,
  type PolicyChange,
  type PolicyView,
  type QueueSettings,
  type QueueView,
  type SshContext,
  type Stage,
} from '@codex-remote/protocol/schema';
import type { Clock } from '@codex-remote/protocol/wire';
import PQueue from 'p-queue';
import type { Audit } from '../audit/audit-log.ts';
import type { PublicAddress } from '../direct/direct.ts';
import type { ExecChanges } from '../execs/changes.ts';
import type { Execs } from '../execs/execs.ts';
import type { Gateway } from '../gateway/gateway.ts';
import type { History } from '../history/history.ts';
import type { Links } from '../links/links.ts';
import { comesByItself } from '../registry/joined.ts';
import { unknownMachine } from '../registry/nearest.ts';
import { notBroughtUp } from '../registry/not-brought-up.ts';
import type { MachineRecord, Registry } from '../registry/registry.ts';
import type { Ask } from '../ssh/question.ts';
import { parseTarget } from '../ssh/target.ts';
import { checkMachine } from './check.ts';
import { MachineDown } from './down.ts';
import { askAgent, changedPolicy, policyOf, policyView, tellAgent } from './policies.ts';
import { queuesNow, setQueues } from './queues.ts';
import { completeContext, isSshHost, memoryOf } from './ssh-access.ts';
import { Tunnels } from './tunnels.ts';
import { MachineBringUp } from './up.ts';

export interface MachinesOptions {
  readonly registry: Registry;
  readonly links: Links;
  readonly history: History;
  readonly execs: Execs;
  readonly changes: ExecChanges;
  readonly gateway: Gateway;
  readonly clock: Clock;
  readonly log: Logger;
  readonly audit: Audit;
  readonly paths: ControllerPaths;
  readonly controllerId: string;
  readonly controllerKey: string;
  /** Where machines can dial us, if they can. */
  readonly address: () => PublicAddress | undefined;
  /** Folder of `agent.mjs` and `shim.sh`. */
  readonly bundleDir: string;
}

/** What a bring-up or a check works with: the options, the tunnels, and nothing of a caller. */
export interface MachineWorld extends MachinesOptions {
  readonly tunnels: Tunnels;
}

/** Who waits for a bring-up. */
export interface UpCaller {
  readonly onStage: (stage: Stage) => void;
  /** Where a person sits there. */
  readonly ask?: Ask;
}

interface RunningUp {
  readonly request: string;
  readonly stages: Stage[];
  readonly callers: Set<UpCaller>;
  readonly result: Promise<MachineUpResult>;
}

/** Machines at the same time in bootstrap: each uploads up to 126 MB. */
const bootstrapsAtOnce = 4;

/** The machines of this controller: what is known of them, how they are brought up, checked and let go. */
export class Machines {
  readonly #world: MachineWorld;
  readonly #bootstraps = new PQueue({ concurrency: bootstrapsAtOnce });
  /** Work on one machine takes turns. */
  readonly #turns = new Map<string, PQueue>();
  readonly #ups = new Map<string, RunningUp>();

  constructor(options: MachinesOptions) {
    const tunnels = new Tunnels({
      clock: options.clock,
      log: options.log,
      audit: options.audit,
      onConnection: (machine, connection, via) => options.gateway.accept(connection, { via, machine }),
    });
    this.#world = { ...options, tunnels };
  }

  names(): string[] {
    return this.#world.registry.list().map(({ name }) => name);
  }

  list(): MachineView[] {
    return this.#world.registry.list().map((machine) => this.#view(machine));
  }

  show(name: string): MachineView {
    return this.#view(this.#must(name));
  }

  /** As `show`, with what the machine says of its queues, where it answers. */
  async showWithQueues(name: string, signal: AbortSignal): Promise<MachineView> {
    const machine = this.#must(name);
    const link = this.#world.links.of(machine.name);
    const [queues, agent] = await Promise.all([queuesNow(link, signal), askAgent(link, signal)]);
    const { policy, enforced_by, agent_policy } = policyView(policyOf(machine), agent);
    return {
      ...this.#view(machine),
      policy,
      policy_enforced_by: enforced_by,
      ...(agent_policy && { agent_policy }),
      ...(queues && { queues }),
    };
  }

  /** How many execs of these queues run at once; the others stay as they are. */
  async setQueues(
    name: string,
    concurrency: QueueSettings,
    connectWaitMs: number,
    signal: AbortSignal,
  ): Promise<QueueView[]> {
    const machine = this.#must(name);
    if (!machine.installation) throw notBroughtUp(machine);
    return setQueues(this.#world.links.of(machine.name), concurrency, connectWaitMs, signal);
  }

  /**
   * Changes what may be started on a machine. The controller refuses from now on; the agent takes what is narrower than what
   * it has at once, when it is connected, and anything from the next `machine up`. Throws `usage`.
   */
  async setPolicy(name: string, change: PolicyChange, signal: AbortSignal): Promise<PolicyView> {
    return this.#turn(name, async () => {
      const { registry, links } = this.#world;
      const policy = changedPolicy(policyOf(this.#must(name)), change);
      await registry.commit(name, () => ({ policy }));
      const view = policyView(policy, await tellAgent(links.of(name), policy, signal));
      return { ...view, ...(comesByItself(this.#must(name)) && { invited: true as const }) };
    });
  }

  /** For a machine that has just connected: it may have been away when its policy was narrowed. */
  async tellPolicy(name: string): Promise<void> {
    const { registry, links } = this.#world;
    const policy = registry.get(name)?.policy;
    if (policy) await tellAgent(links.of(name), policy, new AbortController().signal);
  }

  async add({ name, ssh, agent_home }: MachineAdd): Promise<MachineView> {
    if (ssh !== undefined) parseTarget(ssh);
    await this.#world.registry.add({
      name,
      ...(ssh === undefined ? {} : { ssh }),
      ...(agent_home === undefined ? {} : { agent_home }),
      added_at: this.#now(),
      ssh_memory: {},
    });
    return this.show(name);
  }

  /** Forgets the machine here; what is installed and what runs there stays. */
  async remove(name: string): Promise<void> {
    await this.#turn(name, async () => {
      await this.#world.registry.remove(name);
      await this.#world.tunnels.close(name);
      this.#world.links.remove(name);
      this.#world.history.forgetMachine(name);
    });
  }

  async check(name: string, context: SshContext, signal: AbortSignal): Promise<MachineCheck> {
    const machine = this.#world.registry.get(name) ?? (await this.#candidate(name, {}, context));
    return checkMachine(this.#world, machine, completeContext(context, machine.ssh_memory), signal);
  }

  /**
   * Brings the machine up, or attaches to a bring-up of it that is under way. The work is the controller's: a caller that
   * goes away changes nothing. `onStage` is called for each change of a stage, those that were before the call too; what the
   * login asks is put to the first caller that can be asked.
   */
  async up(name: string, request: MachineUp, caller: UpCaller): Promise<MachineUpResult> {
    const running = this.#ups.get(name);
    const asked = JSON.stringify({ ...request, auth_sock: undefined, interactive: undefined });
    const up = running?.request === asked ? running : this.#startUp(name, asked, request);
    for (const stage of up.stages) caller.onStage(stage);
    up.callers.add(caller);
    try {
      return await up.result;
    } finally {
      up.callers.delete(caller);
    }
  }

  async down(name: string, purge: boolean): Promise<MachineDownResult> {
    this.#must(name);
    return this.#turn(name, () => new MachineDown(this.#world, this.#must(name)).run(purge));
  }

  /** The session of a machine ended because nothing came any more: its tunnel may be dead without knowing. */
  suspect(name: string): void {
    void this.#world.tunnels.get(name)?.suspect();
  }

  /** Opens the way again for every machine that was brought up over SSH; called once, at the start. */
  reopenAll(): void {
    for (const machine of this.#world.registry.list()) {
      const { installation } = machine;
      if (machine.down_at !== undefined) this.#world.links.of(machine.name).takenDown();
      else if (installation) void this.#world.tunnels.reopen(machine, installation);
    }
  }

  async close(): Promise<void> {
    this.#bootstraps.clear();
    await this.#world.tunnels.closeAll();
  }

  #startUp(name: string, asked: string, request: MachineUp): RunningUp {
    const stages: Stage[] = [];
    const callers = new Set<UpCaller>();
    const report = (stage: Stage): void => {
      const at = stages.findIndex((known) => known.name === stage.name);
      if (at < 0) stages.push(stage);
      else stages[at] = stage;
      for (const { onStage } of callers) onStage(stage);
    };
    const ask: Ask = async (question) => {
      for (const caller of callers) if (caller.ask) return caller.ask(question);
      return undefined;
    };
    const work = async (): Promise<MachineUpResult> => {
      const machine = this.#world.registry.get(name) ?? (await this.#candidate(name, request, request));
      const changed = {
        ...machine,
        ...(request.ssh === undefined ? {} : { ssh: request.ssh }),
        ...(request.agent_home === undefined ? {} : { agent_home: request.agent_home }),
      };
      const context = completeContext(request, machine.ssh_memory);
      return new MachineBringUp(this.#world, changed, request, context, report, ask).run();
    };
    const result = this.#turn(name, () => this.#bootstraps.add(work)).finally(() => {
      if (this.#ups.get(name) === up) this.#ups.delete(name);
    });
    const up: RunningUp = { request: asked, stages, callers, result };
    this.#ups.set(name, up);
    return up;
  }

  /** A machine that is not registered: `local`, what `--ssh` says, or a Host of the ssh config. Throws `unknown_machine`. */
  async #candidate(name: string, request: MachineUp, context: SshContext): Promise<MachineRecord> {
    const known = this.#world.registry.list().map((machine) => machine.name);
    if (!namePattern.test(name)) {
      throw unknownMachine(name, known).with({
        facts: { rule: 'a machine name is [a-z0-9][a-z0-9._-]{0,62}' },
      });
    }
    if (request.ssh !== undefined) parseTarget(request.ssh);
    else if (name !== localMachine && !(await isSshHost(name, context)))
      throw unknownMachine(name, [...known, localMachine]);
    return { name, added_at: this.#now(), ssh_memory: memoryOf(context) };
  }

  #turn<T>(name: string, work: () => Promise<T>): Promise<T> {
    let queue = this.#turns.get(name);
    if (!queue) {
      queue = new PQueue({ concurrency: 1 });
      this.#turns.set(name, queue);
    }
    const turns = queue;
    return turns.add(work).finally(() => {
      // The next one makes its own; whoever waits for a turn here keeps this one.
      if (turns.size === 0 && turns.pending === 0 && this.#turns.get(name) === turns)
        this.#turns.delete(name);
    });
  }

  #must(name: string): MachineRecord {
    const machine = this.#world.registry.get(name);
    if (!machine)
      throw unknownMachine(
        name,
        this.#world.registry.list().map((other) => other.name),
      );
    return machine;
  }

  #view(machine: MachineRecord): MachineView {
    const link = this.#world.links.of(machine.name);
    const live = link.live;
    const lastSeen =
      link.lastSeenMs === undefined ? machine.last_seen_at : new Date(link.lastSeenMs).toISOString();
    return {
      machine: machine.name,
      ...(machine.ssh === undefined ? {} : { ssh: machine.ssh }),
      connected: live !== undefined,
      ...(live ? { connection: live.info.connection, connected_since: live.info.connectedSince } : {}),
      ...(lastSeen === undefined ? {} : { last_seen_at: lastSeen }),
      ...(link.duplicateSeenMs === undefined
        ? {}
        : { duplicate_agent_at: new Date(link.duplicateSeenMs).toISOString() }),
      ...((live?.info.hello.agent_version ?? machine.agent_version) === undefined
        ? {}
        : { agent_version: live?.info.hello.agent_version ?? machine.agent_version }),
      ...(machine.installation?.home === undefined ? {} : { agent_home: machine.installation.home }),
      ...(machine.installation?.service ? { service: machine.installation.service } : {}),
      installed: machine.installation !== undefined,
      ...(comesByItself(machine) && { invited: true as const }),
      // As last reported: what runs there goes on while the machine is away.
      running: this.#countOf(machine, 'running'),
      queued: this.#countOf(machine, 'queued'),
      ...(machine.policy ? { policy: machine.policy } : {}),
      added_at: machine.added_at,
    };
  }

  #countOf(machine: MachineRecord, status: 'queued' | 'running'): number {
    const filter = { machine: machine.name, status: [status], limit: 1, ended_after_ms: 0 };
    return this.#world.history.list(filter).total;
  }

  #now(): string {
    return new Date(this.#world.clock.wall()).toISOString();
  }
}

/** Where the agent of the machine `local` lives, unless `--agent-home` says otherwise: with the controller's own state. */
export function localAgentBase(paths: ControllerPaths): string {
  return join(paths.state, 'local-agent');
}
