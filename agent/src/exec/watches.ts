import type { ExecEnded, ExecState } from '@codex-remote/protocol/schema';
import type { Timer } from '@codex-remote/protocol/wire';
import { defaultLogLimitBytes } from '@codex-remote/protocol/wire';
import type { ExecFolder } from '../folder/folder.ts';
import type { StoredIdentity, StoredSpec } from '../folder/stored.ts';
import type { KeptLogs } from '../logs/log-keeper.ts';
import { Pumps } from '../logs/pumps.ts';
import { TimeSampler } from '../logs/time-sampler.ts';
import type { GatedShim } from '../shim/spawn.ts';
import type { Entries } from './entries.ts';
import type { LogLimits, LogLimitWatch } from './log-limits.ts';
import type { Machine } from './machine.ts';
import type { Settler } from './settle.ts';
import { type StartedExec, Supervisor } from './supervisor.ts';

/** Behind the folders' watches: finds what no event told, such as a shim that died with its waiter. */
const pollMs = 2_000;

/** How an exec comes to be watched. */
export interface Watched {
  readonly shim?: GatedShim;
  readonly verdict?: ExecEnded;
}

/** The supervisors of running execs, and of ended ones whose last processes are being ended. */
export class Watches {
  readonly #machine: Machine;
  readonly #entries: Entries;
  readonly #logLimits: LogLimits;
  readonly #settler: Settler;
  readonly #supervisors = new Set<Supervisor>();
  #timer: Timer | undefined;
  #closed = false;

  /** What is watched becomes one of `entries`, and they hear of its changes. */
  constructor(machine: Machine, entries: Entries, logLimits: LogLimits, settler: Settler) {
    this.#machine = machine;
    this.#entries = entries;
    this.#logLimits = logLimits;
    this.#settler = settler;
  }

  /**
   * Makes the entry of an exec whose gate has opened and watches it, to its end and what comes before its verdict. `shim`:
   * where this agent started it; `verdict`: of one that was found to have ended.
   */
  watch(folder: ExecFolder, found: StartedExec, { shim, verdict }: Watched = {}): ExecState {
    const sampler = new TimeSampler(folder.path, this.#machine.clock);
    let limit: LogLimitWatch | undefined;
    const context = {
      ...this.#machine,
      changed: (state: ExecState) => this.#entries.changed(state),
      output: (stream: 'stdout' | 'stderr') => {
        sampler.touch(stream);
        limit?.touch();
      },
      exited: () => limit?.exited(),
      settler: this.#settler,
    };
    const supervisor = new Supervisor(folder, found, shim, context, verdict);
    this.#entries.add({ folder, state: supervisor.state, supervisor, acknowledged: false });
    this.#entries.changed(supervisor.state);
    // The agent is on its way out: the next one watches.
    if (this.#closed) return supervisor.state;
    this.#supervisors.add(supervisor);
    this.#poll();
    const { spec, identity } = found.journal;
    limit = this.#logLimits.keep({
      ...this.#keptLogs(folder, spec, identity),
      exceeded: () => supervisor.logLimitMet(),
      unlimited: () => supervisor.warn('log_limit_off'),
      held: () => supervisor.warn('log_held'),
    });
    supervisor.start();
    void supervisor.settled().then(() => this.#supervisors.delete(supervisor));
    void supervisor.ended.then(() => {
      sampler.close();
      limit?.end();
    });
    return supervisor.state;
  }

  /** Of an exec that ended under an earlier agent, while something in the background went on writing. */
  watchLogs(folder: ExecFolder): void {
    const { spec, identity } = folder.journal() ?? {};
    if (!spec) return;
    const nobody = (): void => undefined;
    this.#logLimits
      .keep({
        ...this.#keptLogs(folder, spec, identity),
        exceeded: nobody,
        unlimited: nobody,
        held: nobody,
      })
      .end();
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

  #keptLogs(
    folder: ExecFolder,
    spec: StoredSpec,
    identity: StoredIdentity | undefined,
  ): Pick<KeptLogs, 'folder' | 'inodes' | 'limit' | 'pumps'> {
    const { table, kill } = this.#machine;
    return {
      folder,
      inodes: identity?.log_inodes,
      limit: {
        bytes: spec.log_limit_bytes ?? defaultLogLimitBytes,
        action: spec.log_limit_action ?? 'drop-oldest',
      },
      pumps: identity && new Pumps({ shim: identity.shim, table, kill }),
    };
  }
}
