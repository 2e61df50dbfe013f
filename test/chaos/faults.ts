import { setTimeout as pause } from 'node:timers/promises';
import type { ProcessIdentity } from '@codex-remote/platform';
import type { Clients } from './clients.ts';
import { type History, nowMs } from './history.ts';
import type { Fault, MachineName, Step, Story } from './plan.ts';
import { isAlive, parentOf, shimOf, signal } from './processes.ts';
import { machineRequest } from './requests.ts';
import { readTruth } from './truth.ts';
import type { World } from './world.ts';

/** Between two tries to bring a machine up whose agent we killed. */
const againMs = 500;

/** Breaks parts of the world. Every fault mends itself; `mend` does it for all at once. */
export class Faults {
  readonly #world: World;
  readonly #clients: Clients;
  readonly #history: History;
  /** Stopped, and to be continued. */
  readonly #stopped = new Set<ProcessIdentity>();
  readonly #ending = new AbortController();

  constructor(world: World, clients: Clients, history: History) {
    this.#world = world;
    this.#clients = clients;
    this.#history = history;
  }

  /** Resolves when the fault is over and mended. */
  async inject(fault: Fault): Promise<void> {
    if (this.#ending.signal.aborted) return;
    switch (fault.kind) {
      case 'kill_controller':
        return this.#note(fault, signalAll(this.#world.controllers(), 'SIGKILL'));
      case 'restart_controller':
        this.#note(fault, '');
        await this.#clients.run({ kind: 'controller_stop', args: ['controller', 'stop'] });
        return;
      case 'stop_controller':
        return this.#stop(fault, this.#world.controllers(), fault.forMs);
      case 'stop_agent':
        return this.#stop(fault, this.#world.agents(fault.machine), fault.forMs);
      case 'kill_agent':
        this.#note(fault, signalAll(this.#world.agents(fault.machine), 'SIGKILL'));
        return this.#bringBack(fault.machine, fault.backAfterMs);
      case 'take_down':
        this.#note(fault, '');
        await this.#clients.run(machineRequest('down', fault.machine));
        return this.#bringBack(fault.machine, fault.backAfterMs);
      case 'bring_up':
      case 'check':
        this.#note(fault, '');
        await this.#clients.run(machineRequest(fault.kind === 'check' ? 'check' : 'up', fault.machine));
        return;
      case 'blackhole': {
        const { proxy } = this.#world.remotes[fault.machine];
        this.#note(fault, `port ${proxy.port}`);
        proxy.blackhole();
        await this.#while(fault.forMs);
        return proxy.heal();
      }
      case 'reset':
        this.#note(fault, '');
        return this.#world.remotes[fault.machine].proxy.reset();
      case 'drop_sessions':
        this.#note(fault, '');
        return this.#world.remotes[fault.machine].server.dropConnections();
    }
  }

  /** kill -9 of a job's shim, where it can be found; of the waiter below it too. */
  async killShim(story: Story, { whole }: Step): Promise<void> {
    const shim = shimOf(story.id, this.#world.roots);
    if (!shim || this.#ending.signal.aborted) return;
    const job = (await readTruth(this.#world.truth, story.id)).starts[0];
    const waiter = whole && job ? parentOf(job.pid) : undefined;
    // A job that has ended has left its pid to anybody.
    const below = waiter?.session === shim.pid && waiter.pid !== shim.pid ? [waiter] : [];
    this.#history.inject({
      atMs: nowMs(),
      fault: { kind: 'kill_shim', story: story.id },
      met: signalAll([shim, ...below], 'SIGKILL'),
    });
  }

  /** No more faults, and those that last are ended. */
  mend(): void {
    this.#ending.abort();
    for (const identity of this.#stopped) signal(identity, 'SIGCONT');
    for (const { proxy } of Object.values(this.#world.remotes)) {
      proxy.heal();
      // Connections that were silenced stay so: both sides are told.
      proxy.reset();
    }
  }

  async #stop(fault: Fault, processes: readonly ProcessIdentity[], forMs: number): Promise<void> {
    this.#note(fault, signalAll(processes, 'SIGSTOP'));
    for (const one of processes) this.#stopped.add(one);
    await this.#while(forMs);
    for (const one of processes) {
      signal(one, 'SIGCONT');
      this.#stopped.delete(one);
    }
  }

  /** An agent that was killed comes back when somebody brings its machine up. */
  async #bringBack(machine: MachineName, afterMs: number): Promise<void> {
    await this.#while(afterMs);
    while (!this.#ending.signal.aborted) {
      const { status } = await this.#clients.run(machineRequest('up', machine));
      if (status === 0) return;
      await this.#while(againMs);
    }
  }

  /** Shorter where everything is mended meanwhile. */
  async #while(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#ending.signal }).catch(() => undefined);
  }

  #note(fault: Fault, met: string): void {
    this.#history.inject({ atMs: nowMs(), fault, met });
  }
}

function signalAll(processes: readonly ProcessIdentity[], name: NodeJS.Signals): string {
  const met = processes.filter((one) => isAlive(one) && signal(one, name));
  return met.map(({ pid }) => pid).join(' ');
}
