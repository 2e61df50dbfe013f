import { closeSync, readdirSync, rmSync } from 'node:fs';
import { failpoint, type Logger } from '@codex-remote/platform';
import {
  type ExecSpec,
  type ExecState,
  execIdPattern,
  isEnded,
  type QueueSettings,
  type QueueView,
  type SignalName,
} from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import PQueue from 'p-queue';
import type { DiskReserve } from '../exec/disk-reserve.ts';
import { currentState, type Entries, type Entry } from '../exec/entries.ts';
import { Gate, takenId } from '../exec/gate.ts';
import { cancelledInQueue } from '../exec/judge.ts';
import { isConflict, type Launcher } from '../exec/launcher.ts';
import type { Machine } from '../exec/machine.ts';
import type { Tombstones } from '../exec/tombstones.ts';
import { ExecFolder } from '../folder/folder.ts';
import { addRequest, QueuedFolder } from '../folder/queued-folder.ts';
import type { StoredSpec } from '../folder/stored.ts';
import type { Worktrees } from '../git/worktrees.ts';
import { asRefusal } from '../shim/shim-factory.ts';
import type { ShimSupply } from '../shim/shim-supply.ts';
import { Departures, type Verdict, verdictOf } from './departures.ts';
import { resolveWaits } from './predecessor-ids.ts';
import type { StateOf, Waits } from './predecessors.ts';
import type { QueueSettingsFile } from './queue-settings.ts';
import { isThere, judgeQueued, type Queued, readQueued } from './queued.ts';
import { type Decision, Queues } from './queues.ts';
import { Waiter } from './waiter.ts';

/** What is accepted; the spooled files become part of it. */
export interface QueuedRequest {
  readonly spec: ExecSpec;
  readonly script?: { readonly path: string };
  readonly stdin?: { readonly path: string };
}

export interface BacklogParts {
  /** `queued/` of the agent's home. */
  readonly queued: string;
  readonly execs: string;
  readonly machine: Machine;
  readonly reserve: DiskReserve;
  readonly supply: ShimSupply;
  readonly launcher: Launcher;
  readonly worktrees: Worktrees;
  readonly entries: Entries;
  readonly tombstones: Tombstones;
  readonly settings: QueueSettingsFile;
  /** Hears of what cannot be read. */
  readonly log: Pick<Logger, 'warn'> | undefined;
}

/**
 * Starts at the same time, of those that waited: when many are let go at once, each takes its descriptors and its forks in
 * turn. A start that meets a limit of the system is an end, not another try.
 */
const startsAtOnce = 4;

/**
 * The execs that wait for their start, because of a queue or of others that have to end first. Each is a folder of
 * `queued/` until its start or its end puts one into `execs/`, which by the gate can happen once; `Queues` says who is
 * next. Nothing is started before `open`.
 */
export class Backlog {
  readonly #parts: BacklogParts;
  readonly #gate: Gate;
  readonly #queues: Queues;
  readonly #departures: Departures;
  readonly #waiters = new Map<string, Waiter>();
  readonly #work = new PQueue({ concurrency: startsAtOnce });
  #nextTicket = 0;
  #open = false;

  constructor(parts: BacklogParts) {
    this.#parts = parts;
    const { entries, settings } = parts;
    this.#gate = new Gate(parts.queued);
    this.#queues = new Queues({
      concurrencyOf: (queue) => settings.concurrencyOf(queue),
      stateOf: (id) => this.#stateOf(id),
      leases: parts.worktrees.leases,
    });
    this.#departures = new Departures({ ...parts, open: () => this.#open });
    parts.worktrees.leases.onFree(() => this.#look());
    // Execs that run already are told of too, when they are adopted.
    entries.onChange((state) => {
      this.#queues.changed(state);
      this.#look();
    });
  }

  /**
   * Reads each folder of `queued/` once, at the agent's start, after those of `execs/`. One that cannot be read is read
   * again whenever its exec is asked for; it has lost its place in the line then, not more.
   */
  adopt(): void {
    const { queued, execs, machine, entries, log } = this.#parts;
    const found: Queued[] = [];
    for (const id of readdirSync(queued)) {
      if (!execIdPattern.test(id)) continue;
      const folder = new QueuedFolder(queued, id);
      try {
        const one = readQueued(folder, execs, machine);
        if (one) found.push(one);
      } catch (error) {
        if (!(error instanceof RemoteError)) throw error;
        log?.warn({ exec: id, err: error.message }, 'a queued exec cannot be read');
        entries.addUnread(id, () => {
          const one = readQueued(folder, execs, machine);
          if (one) this.#adopt(one);
        });
      }
    }
    const ticketOf = ({ snapshot }: Queued): number => snapshot.journal?.spec?.ticket ?? 0;
    for (const one of found.sort((a, b) => ticketOf(a) - ticketOf(b))) {
      this.#nextTicket = Math.max(this.#nextTicket, ticketOf(one) + 1);
      this.#adopt(one);
    }
  }

  #adopt({ folder, snapshot, state }: Queued): void {
    const { spec, end, acknowledged } = snapshot.journal ?? {};
    if (isEnded(state)) {
      if (!end) folder.note({ end: state });
      folder.dropRequest();
      this.#departures.settle(folder, state, acknowledged ?? false);
    } else if (spec) {
      this.#queues.add(folder.id, spec);
      this.#queues.release(folder.id);
      this.#parts.entries.add(this.#entryOf(this.#waiterOf(folder, spec), state));
      this.#look();
    }
  }

  /** From now on whoever is next starts. */
  open(): void {
    this.#open = true;
    this.#look();
  }

  /** Nothing more is started; what waits, waits for the next agent. Idempotent. */
  close(): void {
    this.#open = false;
    this.#work.clear();
    this.#gate.close();
  }

  /** The predecessors by their whole ids. Throws `exec_not_found`, `ambiguous_id`. */
  resolve(spec: ExecSpec): Waits {
    return resolveWaits(spec, this.#parts.entries, this.#parts.tombstones);
  }

  /** See `Queues.admit`: `met` has a place, which `withdraw` gives back. */
  admit(id: string, waits: Waits): ReturnType<Queues['admit']> {
    return this.#queues.admit(id, waits);
  }

  withdraw(id: string): void {
    this.#queues.leave(id);
    this.#look();
  }

  /**
   * Durable when it resolves: the exec waits, in line behind all that came before. Takes over the spooled files. Throws
   * `conflict`, `disk_low`, `fds_exhausted`, `state_unusable`: then nothing was accepted.
   */
  async accept(stored: StoredSpec, request: QueuedRequest): Promise<ExecState> {
    const { queued, supply, entries, machine } = this.#parts;
    const id = stored.exec_id;
    const spec = { ...stored, ticket: this.#nextTicket++ };
    // In line before the first wait, so that the order is that of the requests.
    this.#queues.add(id, spec);
    try {
      const folder = new QueuedFolder(queued, id);
      await this.#write(folder, spec, request, await supply.takeFolder());
      const state = judgeQueued(folder.snapshot(), machine);
      if (state?.status !== 'queued') throw new Error(`the queued exec ${id} is not read as it was written`);
      const entry = this.#entryOf(this.#waiterOf(folder, spec), state);
      entries.add(entry);
      this.#queues.release(id);
      const now = currentState(entry);
      // Whoever is next may be this one: its place may have become free while it was written.
      entries.changed(state);
      return now;
    } catch (error) {
      this.withdraw(id);
      throw error;
    }
  }

  /**
   * True when the exec will never run: its end is on disk and in its entry. False when it does not wait, or its start
   * could not be stopped any more: then it has left the line, and is ended like another. Throws `disk_low`,
   * `state_unusable`: it waits as before.
   */
  async cancel(id: string, signal: SignalName): Promise<boolean> {
    const waiter = this.#waiters.get(id);
    if (!waiter) return false;
    waiter.cancel = signal;
    if (waiter.busy) {
      waiter.stop.abort();
      await waiter.left;
    } else
      await this.#end(waiter, cancelledInQueue).catch((error: unknown) => {
        waiter.busy = false;
        waiter.cancel = undefined;
        this.#queues.release(id);
        throw error;
      });
    return isEnded(this.#parts.entries.get(id).state);
  }

  /** On disk when it returns; what may start now does. Throws `usage`, `disk_low`, `state_unusable`. */
  set(concurrency: QueueSettings): void {
    this.#parts.settings.set(concurrency);
    this.#look();
  }

  view(): QueueView[] {
    return this.#queues.view(this.#parts.settings.names());
  }

  ids(): string[] {
    return [...this.#waiters.keys()];
  }

  async #write(
    folder: QueuedFolder,
    stored: StoredSpec,
    { spec, script, stdin }: QueuedRequest,
    staged: { readonly path: string; readonly journal: number },
  ): Promise<void> {
    try {
      if (isThere(new ExecFolder(this.#parts.execs, folder.id))) throw takenId(folder.id);
      await addRequest(staged.path, spec, { script: script?.path, stdin: stdin?.path });
      failpoint('agent.queued.before');
      await this.#gate.enter(staged.path, staged.journal, folder, stored);
      failpoint('agent.queued.after');
    } catch (error) {
      rmSync(staged.path, { recursive: true, force: true });
      if (!isConflict(error)) folder.remove();
      throw asRefusal(error);
    } finally {
      closeSync(staged.journal);
    }
  }

  #look(): void {
    if (!this.#open) return;
    for (const decision of this.#queues.decide()) void this.#work.add(() => this.#carryOut(decision));
  }

  async #carryOut(decision: Decision): Promise<void> {
    const waiter = this.#waiters.get(decision.id);
    // Cancelled meanwhile, or left for the next agent.
    if (!waiter || waiter.busy || !this.#open) return;
    waiter.busy = true;
    const verdict =
      decision.kind === 'start'
        ? await this.#departures.start(waiter)
        : verdictOf({ why: 'dependency_failed', detail: decision.detail });
    if (!verdict) return this.#left(waiter);
    if (!this.#open) return;
    // Where nothing can be written it goes on waiting for a start that will not come: no end is claimed that is not on disk.
    await this.#end(waiter, waiter.cancel ? cancelledInQueue : verdict).catch(() => {
      waiter.busy = false;
    });
  }

  /** Throws as `Departures.end` does. */
  async #end(waiter: Waiter, verdict: Verdict): Promise<void> {
    waiter.busy = true;
    this.#queues.hold(waiter.folder.id);
    await this.#departures.end(waiter, verdict);
    this.#left(waiter);
  }

  #waiterOf(folder: QueuedFolder, spec: StoredSpec): Waiter {
    return new Waiter(folder, spec, () => this.#queues.placeOf(folder.id));
  }

  #entryOf(waiter: Waiter, state: ExecState): Entry {
    this.#waiters.set(waiter.folder.id, waiter);
    const { folder } = waiter;
    return { folder, state, supervisor: undefined, acknowledged: false, waiting: waiter };
  }

  #stateOf(id: string): ReturnType<StateOf> {
    const { entries, tombstones } = this.#parts;
    try {
      return entries.find(id)?.state ?? tombstones.get(id)?.state;
    } catch {
      return 'unread';
    }
  }

  #left(waiter: Waiter): void {
    this.#waiters.delete(waiter.folder.id);
    waiter.leave();
  }
}
