import type { ExecState } from '@codex-remote/protocol/schema';
import type { Timer } from '@codex-remote/protocol/wire';
import type { ExecFolder } from '../folder/folder.ts';
import { TimeSampler } from '../logs/time-sampler.ts';
import type { Entries } from './entries.ts';
import type { Machine } from './machine.ts';
import type { GatedShim } from './spawn.ts';
import { type StartedExec, Supervisor } from './supervisor.ts';

/** Behind the folders' watches: finds what no event told, such as a shim that died with its waiter. */
const pollMs = 2_000;

/** The supervisors of running execs, and of ended ones whose last processes are being ended. */
export class Watches {
  readonly #machine: Machine;
  readonly #entries: Entries;
  readonly #supervisors = new Set<Supervisor>();
  #timer: Timer | undefined;
  #closed = false;

  /** What is watched becomes one of `entries`, and they hear of its changes. */
  constructor(machine: Machine, entries: Entries) {
    this.#machine = machine;
    this.#entries = entries;
  }

  /** Makes the entry of an exec whose gate has opened and watches it. `shim`: where this agent started it. */
  watch(folder: ExecFolder, found: StartedExec, shim?: GatedShim): ExecState {
    const sampler = new TimeSampler(folder.path, this.#machine.clock);
    const supervisor = new Supervisor(folder, found, shim, {
      ...this.#machine,
      changed: (state) => this.#entries.changed(state),
      output: (stream) => sampler.touch(stream),
    });
    this.#entries.add({ folder, state: supervisor.state, supervisor, acknowledged: false });
    this.#entries.changed(supervisor.state);
    // The agent is on its way out: the next one watches.
    if (this.#closed) return supervisor.state;
    this.#supervisors.add(supervisor);
    this.#poll();
    supervisor.start();
    void supervisor.settled().then(() => this.#supervisors.delete(supervisor));
    void supervisor.ended.then(() => sampler.close());
    return supervisor.state;
  }

  /** The execs go on. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    for (const supervisor of this.#supervisors) supervisor.close();
  }

  /** For as long as there is something to look at. */
  #poll(): void {
    if (this.#supervisors.size === 0) return;
    this.#timer ??= this.#machine.clock.setTimer(pollMs, () => {
      this.#timer = undefined;
      for (const supervisor of this.#supervisors) supervisor.look();
      this.#poll();
    });
  }
}
