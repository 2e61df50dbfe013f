import { setTimeout as pause } from 'node:timers/promises';
import { type Aftermath, lookAtLeft, lookAtQuiet } from './aftermath.ts';
import type { Clients, Request } from './clients.ts';
import { keepState } from './keep.ts';
import { type MachineName, machineNames, type Story } from './plan.ts';
import { lastRequests, machineRequest } from './requests.ts';
import { isEndless } from './shape.ts';
import type { World } from './world.ts';

/** Two windows in which readers wait for a controller or a machine, and the longest job. */
const endWithinMs = 100_000;
/** What jobs leave in the background has ended, and idle connections have been closed. */
const settleMs = 3_000;
/** Clients at once. */
const together = 4;

/** Nothing is broken any more: everything must come up, come to its end, be readable whole, and go without a trace. */
export class Closing {
  readonly #world: World;
  readonly #clients: Clients;
  readonly #stuck: string[] = [];

  constructor(world: World, clients: Clients) {
    this.#world = world;
    this.#clients = clients;
  }

  async run(stories: readonly Story[]): Promise<Omit<Aftermath, 'peakRssBytes'>> {
    const until = performance.now() + endWithinMs;
    await Promise.all(machineNames.map((machine) => this.#bringUp(machine, until)));
    await this.#endJobs(stories, until);
    await pause(settleMs);
    await this.#runAll([
      ...stories.flatMap(lastRequests),
      { kind: 'last_list', args: ['exec', 'list', '--limit', '1000'] },
    ]);
    await pause(settleMs);
    const quiet = await lookAtQuiet(this.#world);
    await keepState(this.#world);
    await this.#bringDown();
    return { ...quiet, ...(await this.#left()), stuck: this.#stuck };
  }

  async #bringUp(machine: MachineName, until: number): Promise<void> {
    for (;;) {
      const { status, stderr } = await this.#clients.run(machineRequest('up', machine));
      if (status === 0) return;
      if (performance.now() > until) {
        this.#stuck.push(`${machine} does not come up again: ${stderr}`);
        return;
      }
      await pause(500);
    }
  }

  /**
   * Cancels what would go on for ever, again while somebody still watches or starts it, and waits for the rest. A last
   * cancel of all: a start whose client is gone may have come through at any time.
   */
  async #endJobs(stories: readonly Story[], until: number): Promise<void> {
    const endless = stories.filter(({ shape }) => isEndless(shape));
    while (this.#clients.running.length > 0 && performance.now() < until) {
      const busy = new Set(this.#clients.running.map(({ story }) => story));
      await this.#cancel(endless.filter(({ id }) => busy.has(id)));
      await pause(500);
    }
    for (const { args } of this.#clients.running) this.#stuck.push(`still running: ${args.join(' ')}`);
    await this.#clients.close();
    await this.#cancel(endless);
  }

  #cancel(stories: readonly Story[]): Promise<void> {
    return this.#runAll(
      stories.map(({ id, machine }) => ({
        kind: 'cancel',
        story: id,
        machine,
        args: ['exec', 'cancel', '--id', id, '--grace', '1s'],
      })),
    );
  }

  async #bringDown(): Promise<void> {
    for (const machine of machineNames) {
      const request = machineRequest('down', machine);
      const { status, stderr } = await this.#clients.run({ ...request, args: [...request.args, '--purge'] });
      if (status !== 0) this.#stuck.push(`${machine} cannot be purged: ${stderr}`);
    }
    await this.#clients.run({ kind: 'controller_stop', args: ['controller', 'stop'] });
  }

  /** Looks again for a while: what was told to end needs a moment. */
  async #left(): Promise<Pick<Aftermath, 'processes' | 'files'>> {
    for (let look = 1; ; look++) {
      const left = await lookAtLeft(this.#world);
      if ((left.processes.length === 0 && left.files.length === 0) || look === 20) return left;
      await pause(250);
    }
  }

  async #runAll(requests: readonly Request[]): Promise<void> {
    const waiting = [...requests];
    const worker = async (): Promise<void> => {
      for (let next = waiting.shift(); next; next = waiting.shift()) await this.#clients.run(next);
    };
    await Promise.all(Array.from({ length: together }, worker));
  }
}
