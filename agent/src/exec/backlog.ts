import { closeSync, lstatSync, readdirSync, rmSync } from 'node:fs';
import { failpoint, type Logger } from '@codex-remote/platform';
import {
  type ExecEnded,
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
import { ExecFolder, type FolderSnapshot } from '../folder/folder.ts';
import { addRequest, QueuedFolder } from '../folder/queued-folder.ts';
import type { JournalLine, StoredSpec } from '../folder/stored.ts';
import type { DiskReserve } from './disk-reserve.ts';
import { currentState, type Entries, type Entry, type Waiting } from './entries.ts';
import { Gate, takenId } from './gate.ts';
import { cancelledInQueue, failedToStart, judge, type NotStarted, notStarted, type Probe } from './judge.ts';
import { isConflict, type Launcher } from './launcher.ts';
import type { Machine } from './machine.ts';
import type { StateOf, Waits } from './predecessors.ts';
import type { QueueSettingsFile } from './queue-settings.ts';
import { type Decision, type Place, Queues } from './queues.ts';
import { asRefusal } from './shim-factory.ts';
import type { ShimSupply } from './shim-supply.ts';
import type { Tombstones } from './tombstones.ts';

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

/** An exec between its acceptance and its start. */
class Waiter implements Waiting {
  readonly folder: QueuedFolder;
  readonly spec: StoredSpec;
  /** Resolves when it runs or has ended. */
  readonly left: Promise<void>;
  readonly leave: () => void;
  readonly place: () => Place | undefined;
  /** It is at its gate, or its end is being written: nothing else may touch it. */
  busy = false;
  cancel: SignalName | undefined;

  constructor(folder: QueuedFolder, spec: StoredSpec, place: () => Place | undefined) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.folder = folder;
    this.spec = spec;
    this.left = promise;
    this.leave = resolve;
    this.place = place;
  }
}

/**
 * The execs that wait for their start, because of a queue or of others that have to end first. Each is a folder of
 * `queued/` until its start or its end puts one into `execs/`, which by the gate can happen once; `Queues` says who is
 * next. Nothing is started before `open`.
 */
export class Backlog {
  readonly #parts: BacklogParts;
  readonly #gate: Gate;
  readonly #queues: Queues;
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
    });
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
    const { queued, entries, log } = this.#parts;
    const found: Found[] = [];
    for (const id of readdirSync(queued)) {
      if (!execIdPattern.test(id)) continue;
      const folder = new QueuedFolder(queued, id);
      try {
        const one = this.#read(folder);
        if (one) found.push(one);
      } catch (error) {
        if (!(error instanceof RemoteError)) throw error;
        log?.warn({ exec: id, err: error.message }, 'a queued exec cannot be read');
        entries.addUnread(id, () => {
          const one = this.#read(folder);
          if (one) this.#adopt(one);
        });
      }
    }
    const ticketOf = ({ snapshot }: Found): number => snapshot.journal?.spec?.ticket ?? 0;
    for (const one of found.sort((a, b) => ticketOf(a) - ticketOf(b))) {
      this.#nextTicket = Math.max(this.#nextTicket, ticketOf(one) + 1);
      this.#adopt(one);
    }
  }

  /** Undefined for what is not queued, or not here. Throws as `ExecFolder` does. */
  #read(folder: QueuedFolder): Found | undefined {
    const { execs, machine } = this.#parts;
    const snapshot = folder.snapshot();
    const state = judge(snapshot, neverRan(machine), machine.hostId);
    if (!state) return undefined;
    // The start of this one was under way when the agent ended: the folder there is the truth.
    if (!exists(new ExecFolder(execs, folder.id))) return { folder, snapshot, state };
    folder.remove();
    return undefined;
  }

  #adopt({ folder, snapshot, state }: Found): void {
    const { spec, end, acknowledged } = snapshot.journal ?? {};
    if (isEnded(state)) {
      if (!end) folder.note({ end: state });
      folder.dropRequest();
      this.#settle(folder, state, acknowledged ?? false);
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
    const whole = (flag: string, ids: readonly string[] | undefined): string[] | undefined =>
      ids && [...new Set(ids.map((id) => this.#wholeId(spec.exec_id, flag, id)))];
    return {
      queue: spec.queue,
      after: whole('--after', spec.after),
      after_any: whole('--after-any', spec.after_any),
    };
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
      const state = judge(folder.snapshot(), neverRan(machine), machine.hostId);
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
    if (waiter.busy) await waiter.left;
    else
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
      if (exists(new ExecFolder(this.#parts.execs, folder.id))) throw takenId(folder.id);
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
        ? await this.#start(waiter)
        : verdictOf({ why: 'dependency_failed', detail: decision.detail });
    if (!verdict || !this.#open) return;
    // Where nothing can be written it goes on waiting for a start that will not come: no end is claimed that is not on disk.
    await this.#end(waiter, waiter.cancel ? cancelledInQueue : verdict).catch(() => {
      waiter.busy = false;
    });
  }

  /** Undefined when it runs, else how it ends. */
  async #start(waiter: Waiter): Promise<Verdict | undefined> {
    const { execs, machine, reserve, launcher } = this.#parts;
    const folder = new ExecFolder(execs, waiter.folder.id);
    try {
      reserve.check();
      const request = waiter.folder.request();
      if (!request) throw new RemoteError('state_unusable', 'what it was to run cannot be read any more');
      const hasScript = request.command.kind === 'script';
      const script = hasScript
        ? { path: folder.file('script'), now: waiter.folder.file('script') }
        : undefined;
      const plan = await launcher.plan(request, script);
      if (plan.kind === 'failed')
        return (found, nowMs) => failedToStart(found, nowMs, plan.exitCode, plan.why);
      await launcher.launch({
        folder,
        // It cannot have run in the boot in which it was accepted.
        spec: { ...waiter.spec, boot_id: machine.bootId, cwd: plan.cwd, warnings: [...plan.warnings] },
        plan,
        hasScript,
        stdin: request.stdin ? { path: waiter.folder.file('stdin'), unlink: false } : undefined,
        turn: {
          begin: () => {
            if (waiter.cancel || !this.#open) throw new RemoteError('cancelled', 'it is not to start');
          },
          leave: (place) => {
            failpoint('agent.leave.before');
            waiter.folder.handOver(place);
            failpoint('agent.leave.after');
          },
        },
      });
      this.#left(waiter);
      return undefined;
    } catch (error) {
      const { code, message } = asRefusal(error);
      return verdictOf({ why: code, detail: message });
    }
  }

  /** Throws `state_unusable`: then the exec waits as before. */
  async #end(waiter: Waiter, verdict: Verdict): Promise<void> {
    const { execs, machine, entries } = this.#parts;
    const { clock, table } = machine;
    const { folder } = waiter;
    waiter.busy = true;
    this.#queues.hold(folder.id);
    const nowMs = clock.wall();
    const cancel = waiter.cancel && {
      cause: 'cancel' as const,
      signal: waiter.cancel,
      at_ms: nowMs,
      at_uptime_ms: table.uptimeMs(),
      grace_ms: 0,
    };
    const place = new ExecFolder(execs, folder.id);
    // Its start failed behind the gate: that folder is the truth already, and says that nothing ran.
    const inPlace = place.journal()?.spec?.mark === waiter.spec.mark;
    const state = verdict(inPlace ? place.snapshot() : folder.snapshot(), nowMs);
    const lines: JournalLine[] = [...(cancel ? [{ cancel }] : []), { end: state }];
    if (inPlace) {
      for (const line of lines) place.note(line);
      folder.remove();
      entries.add({ folder: place, state, supervisor: undefined, acknowledged: false });
      entries.changed(state);
    } else {
      try {
        failpoint('agent.queued_end.before');
        await folder.end(lines);
        failpoint('agent.queued_end.after');
      } catch (error) {
        throw asRefusal(error);
      }
      this.#settle(folder, state, false);
    }
    this.#left(waiter);
  }

  /** An ended exec moves to where the ended are, and is told of. */
  #settle(folder: QueuedFolder, state: ExecEnded, acknowledged: boolean): void {
    const { execs, entries } = this.#parts;
    const place = new ExecFolder(execs, folder.id);
    entries.add({
      folder: folder.moveTo(place) ? place : folder,
      state,
      supervisor: undefined,
      acknowledged,
    });
    entries.changed(state);
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

  #wholeId(execId: string, flag: string, wanted: string): string {
    const { entries, tombstones } = this.#parts;
    if (entries.find(wanted) || tombstones.get(wanted)) return wanted;
    const found = entries
      .all()
      .map(({ folder }) => folder.id)
      .filter((id) => id.startsWith(wanted));
    if (found[0] !== undefined && found.length === 1) return found[0];
    const details = { exec_id: execId, sent: 'no', facts: { predecessor: wanted } } as const;
    if (found.length > 1)
      throw new RemoteError('ambiguous_id', `${flag} ${wanted} matches more than one exec`, {
        ...details,
        hint: `give more of the id: ${found.slice(0, 5).join(', ')}`,
      });
    throw new RemoteError(
      'exec_not_found',
      `exec_id not found: ${wanted}, which ${flag} names, is not known on the machine`,
      {
        ...details,
        hint: 'a predecessor is an exec of the same machine; `codex-remote exec list` shows them',
      },
    );
  }
}

interface Found {
  readonly folder: QueuedFolder;
  readonly snapshot: FolderSnapshot;
  readonly state: ExecState;
}

type Verdict = (found: FolderSnapshot, nowMs: number) => ExecEnded;

function verdictOf(cause: NotStarted): Verdict {
  return (found, nowMs) => notStarted(found, nowMs, cause);
}

function neverRan(machine: Machine): Probe {
  return {
    bootId: machine.bootId,
    nowMs: machine.clock.wall(),
    shimAlive: false,
    shimSessionAlive: false,
    jobAlive: false,
    exitKnownMs: 0,
  };
}

function exists(folder: ExecFolder): boolean {
  return lstatSync(folder.path, { throwIfNoEntry: false }) !== undefined;
}
