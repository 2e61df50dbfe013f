import { type FSWatcher, watch } from 'node:fs';
import { execMarkName, failpoint, type ProcessIdentity, type ProcessTable } from '@codex-remote/platform';
import { type ExecEnded, type ExecState, isEnded, type SignalName } from '@codex-remote/protocol/schema';
import { RemoteError, type Timer } from '@codex-remote/protocol/wire';
import type { ExecFolder, FolderSnapshot } from '../folder/folder.ts';
import type { Journal } from '../folder/journal.ts';
import type { CancelIntent, StoredIdentity, StoredSpec } from '../folder/stored.ts';
import { shellAtGate } from '../shim/gate-shell.ts';
import type { GatedShim } from '../shim/spawn.ts';
import { endProcesses } from './cancel.ts';
import { Deadline } from './deadline.ts';
import { isDrained, judge, lingerMs, type Probe, settling } from './judge.ts';
import type { Machine } from './machine.ts';
import type { Settled, Settler, Settling } from './settle.ts';

/** Between TERM and KILL where nobody says otherwise. */
export const defaultGraceMs = 10_000;

/** How long a cancel waits for the verdict after the processes are gone. */
const verdictMs = 2_000;

/** Until what the system refused is tried again. */
const retryMs = 1_000;

/** How long a cancel waits for the job to be recorded, and how often it looks. */
const recordMs = 2_000;
const recordPollMs = 5;

/** The folder of an exec whose gate has opened. */
export type StartedExec = FolderSnapshot & {
  readonly journal: { readonly spec: StoredSpec; readonly identity: StoredIdentity };
};

/** The world of a supervisor. */
export interface SupervisorContext extends Machine {
  /** The state is another one than before, not only its numbers. */
  readonly changed: (state: ExecState) => void;
  /** Something was written to a log. */
  readonly output: (stream: 'stdout' | 'stderr') => void;
  /** The command has ended, its pumps have not. */
  readonly exited: () => void;
  /** What is done before a verdict. */
  readonly settler: Settler;
}

/** A cancel at work. */
interface Ending {
  /** Pids of what could not be ended. */
  done: Promise<number[]>;
  /** The last one asked for; nothing comes after KILL. */
  signal: SignalName;
  /** On the monotonic clock. */
  killAt: number;
}

/**
 * Watches one exec whose gate has opened, until there is a verdict. Child events, the folder's watch and the slow poll of
 * the store only say "look again": `judge` decides. The owner calls `close` when it stops watching; the exec goes on.
 */
export class Supervisor {
  /** Resolves with the verdict; never, when closed before. */
  readonly ended: Promise<ExecEnded>;
  readonly #folder: ExecFolder;
  readonly #spec: StoredSpec;
  readonly #identity: StoredIdentity;
  readonly #context: SupervisorContext;
  /** Absent for an exec that an earlier agent started. */
  readonly #shim: GatedShim | undefined;
  readonly #resolveEnded: (state: ExecEnded) => void;
  #state: ExecState;
  #cancel: CancelIntent | undefined;
  #orphaned: boolean;
  #warnings: readonly string[];
  readonly #damage: Journal['damage'];
  #ending: Ending | undefined;
  /** A cancel found no job to end: it is ended as soon as it is recorded. */
  #endedBlind = false;
  #watcher: FSWatcher | undefined;
  #deadline: Deadline | undefined;
  #linger: Timer | undefined;
  #retry: Timer | undefined;
  /** When the exit record was first seen. */
  #exitSeen: { monotonic: number; wall: number; uptime: number } | undefined;
  /** The exit was there at the agent's start: this is when the record was last written. */
  readonly #exitFoundMs: number | undefined;
  /** Where its job was found to be over: what is left to do comes before that is told. */
  readonly #verdictFound: ExecEnded | undefined;
  /** The job is over, the verdict not told: nothing is looked at any more. */
  #settling: (Settling & { readonly done: Promise<void> }) | undefined;
  #closed = false;

  /**
   * `found` is the folder as it was read at the agent's start, `verdict` what it was judged to be then, where it has ended;
   * `shim` the one just started.
   */
  constructor(
    folder: ExecFolder,
    found: StartedExec,
    shim: GatedShim | undefined,
    context: SupervisorContext,
    verdict?: ExecEnded,
  ) {
    const { promise, resolve } = Promise.withResolvers<ExecEnded>();
    this.ended = promise;
    this.#resolveEnded = resolve;
    this.#folder = folder;
    this.#spec = found.journal.spec;
    this.#identity = found.journal.identity;
    this.#cancel = found.journal.cancel;
    this.#orphaned = found.journal.orphaned;
    this.#warnings = found.journal.warnings ?? [];
    this.#damage = found.journal.damage;
    this.#shim = shim;
    this.#context = context;
    this.#exitFoundMs = found.record?.exitCode === undefined ? undefined : found.recordModifiedMs;
    this.#verdictFound = verdict;
    this.#state = verdict
      ? settling(found)
      : (judge(found, this.#unprobed(), context.hostId) ?? unjudged(found));
  }

  /** Begins to watch. Apart from the constructor, because it can report changes at once. */
  start(): void {
    // Perhaps in another boot: there is nothing to watch, to time out or to cancel.
    if (this.#verdictFound) return this.#settle(this.#verdictFound);
    this.#watch();
    void this.#shim?.exited.then(() => this.look());
    const { timeout_ms, grace_ms } = this.#spec;
    const { clock, table } = this.#context;
    if (timeout_ms !== undefined) {
      const due = this.#identity.started_uptime_ms + timeout_ms;
      this.#deadline = new Deadline(
        clock,
        () => table.uptimeMs(),
        due,
        () => this.#timeOut(grace_ms ?? defaultGraceMs),
      );
    }
    if (this.#cancel) this.#resume(this.#cancel);
    this.look();
  }

  /** As last judged; sizes are those of that moment. */
  get state(): ExecState {
    return this.#state;
  }

  /**
   * Reads the folder, and the process table where needed, and acts on what it finds. Where the system does not let us
   * look, nothing has changed: the slow poll of the store looks again.
   */
  look(): void {
    if (this.#closed || this.#settling || isEnded(this.#state)) return;
    try {
      this.#look();
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error;
    }
  }

  #look(): void {
    const folder = this.#snapshot();
    if (folder.record?.exitCode !== undefined) {
      const { clock, table } = this.#context;
      this.#exitSeen ??= { monotonic: clock.monotonic(), wall: clock.wall(), uptime: table.uptimeMs() };
      if (!isDrained(folder)) {
        this.#context.exited();
        this.#lookAfterLinger();
      }
    }
    const state = this.#judge(folder);
    if (state) this.#enter(state);
    if (this.#endedBlind && folder.record?.job && this.#cancel && !this.#ending) this.#resume(this.#cancel);
  }

  /**
   * Ends the job; returns what could not be ended. Again while it is at work: the signal of now, and the shorter grace.
   * Where the job is over, what comes before its verdict is cut short. An exec that has ended stays as it is.
   */
  async cancel(cause: CancelIntent['cause'], signal: SignalName, graceMs: number): Promise<number[]> {
    const { clock, table } = this.#context;
    this.look();
    if (isEnded(this.#state)) return [];
    if (this.#exitSeen || this.#settling) {
      if (cause === 'cancel') this.#settling?.cut('cancel');
      await this.#verdict();
      return [];
    }
    const ending = this.#ending;
    const asked = clock.monotonic() + (signal === 'KILL' ? 0 : graceMs);
    const killAt = ending ? Math.min(ending.killAt, asked) : asked;
    this.#cancel = {
      // The first one is why it ends.
      cause: this.#cancel?.cause ?? cause,
      signal: ending?.signal === 'KILL' ? 'KILL' : signal,
      at_ms: clock.wall(),
      at_uptime_ms: table.uptimeMs(),
      grace_ms: Math.max(0, Math.round(killAt - clock.monotonic())),
    };
    failpoint('agent.cancel.before');
    this.#folder.note({ cancel: this.#cancel });
    failpoint('agent.cancel.after');
    this.look();
    if (!ending) return this.#end(signal, killAt);
    await this.#folder.settle();
    if (ending.signal !== 'KILL') ending.signal = signal;
    ending.killAt = Math.min(ending.killAt, killAt);
    return ending.done;
  }

  /** Told with the exec from now on, over restarts too. */
  warn(warning: string): void {
    if (isEnded(this.#state) || this.#warnings.includes(warning)) return;
    this.#warnings = [...this.#warnings, warning];
    this.#folder.note({ warning });
    this.look();
  }

  /** A log is at its limit, and the exec was started to be cancelled then. */
  logLimitMet(): void {
    const graceMs = this.#spec.grace_ms ?? defaultGraceMs;
    this.#untilPossible(() => this.cancel('log_limit', 'TERM', graceMs));
  }

  /** Resolves when the exec has ended and nothing of it is being ended any more: then there is nothing to close. */
  async settled(): Promise<void> {
    await this.ended;
    await this.#ending?.done;
  }

  /** Stops watching, and what is being ended is left: the intent is on disk, the next agent goes on. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#settling?.cut('stop');
    this.#unwatch();
  }

  #unwatch(): void {
    this.#watcher?.close();
    this.#deadline?.cancel();
    this.#linger?.cancel();
    this.#retry?.cancel();
  }

  #resume(intent: CancelIntent): void {
    this.#untilPossible(async () => {
      const { clock, table } = this.#context;
      const left = intent.at_uptime_ms + intent.grace_ms - table.uptimeMs();
      const killAt = clock.monotonic() + (intent.signal === 'KILL' ? 0 : Math.max(0, left));
      await this.#end(intent.signal, killAt);
    });
  }

  #timeOut(graceMs: number): void {
    this.#untilPossible(() => this.cancel('timeout', 'TERM', graceMs));
  }

  /** Nobody waits for `work`, so nobody could try again when the system refuses now what it allows in a while. */
  #untilPossible(work: () => Promise<unknown>): void {
    work().catch((error: unknown) => {
      if (!(error instanceof RemoteError)) throw error;
      if (this.#closed || isEnded(this.#state)) return;
      this.#retry?.cancel();
      this.#retry = this.#context.clock.setTimer(retryMs, () => this.#untilPossible(work));
    });
  }

  #end(signal: SignalName, killAt: number): Promise<number[]> {
    const ending: Ending = { done: Promise.resolve([]), signal, killAt };
    this.#ending = ending;
    ending.done = this.#run(ending).finally(() => {
      if (this.#ending === ending) this.#ending = undefined;
    });
    return ending.done;
  }

  async #run(ending: Ending): Promise<number[]> {
    const { clock, table, kill } = this.#context;
    // On disk before the first signal, else a job that ends by it is taken for one that ended by itself.
    await this.#folder.settle();
    const job = await this.#recordedJob();
    this.#endedBlind = job === undefined;
    const leftover = await endProcesses(
      { job, markName: execMarkName, mark: this.#spec.mark },
      {
        table,
        clock,
        kill,
        signal: () => ending.signal,
        killAt: () => ending.killAt,
        stopped: () => this.#closed,
      },
    );
    if (!this.#closed) await this.#verdict();
    return leftover;
  }

  /**
   * Right after `go` there is neither a record of the job nor its mark on any process. Where there is none within
   * `recordMs`, as with a directory that does not answer: the shell that is to become the job. Undefined when there will
   * be none.
   */
  async #recordedJob(): Promise<ProcessIdentity | undefined> {
    const { clock, table } = this.#context;
    const until = clock.monotonic() + recordMs;
    for (;;) {
      const job = this.#jobNow();
      if (job || this.#closed || isEnded(this.#state)) return job;
      if (clock.monotonic() >= until) return shellAtGate(this.#identity.shim, table);
      const { promise, resolve } = Promise.withResolvers<void>();
      clock.setTimer(recordPollMs, resolve);
      await promise;
    }
  }

  #jobNow(): ProcessIdentity | undefined {
    try {
      return this.#folder.record()?.job;
    } catch {
      // It cannot be read now: as if it were not there yet.
      return undefined;
    }
  }

  /** The processes are gone: the record, or that there is none, is there within moments. */
  async #verdict(): Promise<void> {
    this.look();
    const late = Promise.withResolvers<void>();
    const timer = this.#context.clock.setTimer(verdictMs, late.resolve);
    await Promise.race([this.ended, late.promise]);
    timer.cancel();
    this.look();
    await this.#settling?.done;
  }

  #watch(): void {
    try {
      this.#watcher = watch(this.#folder.path, { persistent: false }, (_event, name) => {
        if (name === 'exit') this.look();
        else if (name === 'stdout' || name === 'stderr') this.#context.output(name);
      });
      // The folder was removed, or the watch was: the slow poll goes on.
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch {
      // No more watches to be had: the slow poll must do.
    }
  }

  #lookAfterLinger(): void {
    this.#linger ??= this.#context.clock.setTimer(lingerMs, () => this.look());
  }

  #enter(state: ExecState): void {
    if (isEnded(state)) return this.#settle(state);
    const before = this.#state;
    this.#state = state;
    if (!this.#orphaned && state.warnings?.includes('supervisor_lost')) {
      this.#orphaned = true;
      failpoint('agent.orphaned.before');
      this.#folder.note({ orphaned: true });
      failpoint('agent.orphaned.after');
    }
    if (essence(before) !== essence(state)) this.#context.changed(state);
  }

  #settle(state: ExecEnded): void {
    const job = { folder: this.#folder, spec: this.#spec, identity: this.#identity, end: state };
    const begun = this.#context.settler.begin(job, () => this.#settles());
    if (!begun) return this.#conclude(state, {});
    this.#unwatch();
    const done = begun.settled.then((settled) => {
      if (!this.#closed) this.#conclude(state, settled);
    });
    this.#settling = { ...begun, done };
  }

  #settles(): void {
    if (this.#closed || this.#state.status !== 'running') return;
    const { pid: _gone, ...state } = this.#state;
    this.#state = { ...state, settling: true };
    this.#context.changed(this.#state);
  }

  /** The verdict, with what was found before it. */
  #conclude(state: ExecEnded, { warnings: found = [], ...settled }: Settled): void {
    const warnings = new Set([...(state.warnings ?? []), ...this.#warnings, ...found]);
    const end: ExecEnded = { ...state, ...settled, ...(warnings.size > 0 && { warnings: [...warnings] }) };
    this.#state = end;
    this.#unwatch();
    failpoint('agent.end.before');
    this.#folder.note({ end });
    failpoint('agent.end.after');
    this.#context.changed(end);
    this.#resolveEnded(end);
  }

  #snapshot(): FolderSnapshot {
    const record = this.#folder.record();
    return {
      id: this.#folder.id,
      journal: {
        spec: this.#spec,
        identity: this.#identity,
        ...(this.#cancel && { cancel: this.#cancel }),
        orphaned: this.#orphaned,
        warnings: this.#warnings,
        acknowledged: false,
        ...(this.#damage && { damage: this.#damage }),
      },
      ...(record && { record }),
      shimText: (record?.exitCode ?? 0) > 128 ? this.#folder.shimText() : '',
      stdoutBytes: this.#folder.bytes('stdout'),
      stderrBytes: this.#folder.bytes('stderr'),
      dropped: this.#folder.dropped(),
    };
  }

  #judge(folder: FolderSnapshot): ExecState | undefined {
    const state = judge(folder, this.#probe(folder), this.#context.hostId);
    if (state?.status !== 'lost') return state;
    // The waiter can have written between our reading of the record and of the process table.
    const again = this.#folder.record();
    if (again?.exitCode === undefined && !again?.noCwd && !again?.aborted) return state;
    const fresh = { ...folder, record: again, shimText: this.#folder.shimText() };
    return judge(fresh, this.#probe(fresh), this.#context.hostId);
  }

  #probe(folder: FolderSnapshot): Probe {
    const { table } = this.#context;
    const unprobed = this.#unprobed();
    // What is recorded needs no proof by who is there.
    if (folder.record?.exitCode !== undefined) return unprobed;
    const shimAlive = this.#shim?.alive ?? table.isAlive(this.#identity.shim);
    return shimAlive ? unprobed : { ...unprobed, ...probeWithoutShim(folder, this.#identity, table) };
  }

  /** The careful answer of who has not looked at the process table. */
  #unprobed(): Probe {
    const { clock, bootId } = this.#context;
    const seen = this.#exitSeen;
    return {
      bootId,
      nowMs: clock.wall(),
      exitKnownMs: seen ? clock.monotonic() - seen.monotonic : 0,
      ...(seen && { exitSeenMs: this.#exitFoundMs ?? seen.wall }),
      ...(seen && this.#exitFoundMs === undefined && { exitSeenUptimeMs: seen.uptime }),
      shimAlive: true,
      shimSessionAlive: true,
      jobAlive: true,
    };
  }
}

/** What is left of an exec whose outer shell has ended. */
export function probeWithoutShim(
  folder: FolderSnapshot,
  identity: StoredIdentity,
  table: ProcessTable,
): Pick<Probe, 'shimAlive' | 'shimSessionAlive' | 'jobAlive'> {
  const job = folder.record?.job;
  const mark = folder.journal?.spec?.mark;
  const all = table.all();
  const isOurs = (stat: { pid: number }): boolean =>
    mark !== undefined && table.hasMark(stat.pid, execMarkName, mark);
  // The outer shell has ended: another process of its pid has its session's number too, and nothing of the shim is left.
  const leader = table.stat(identity.shim.pid);
  const reused = leader !== undefined && leader.start !== identity.shim.start;
  return {
    shimAlive: false,
    shimSessionAlive:
      !reused && all.some((stat) => stat.session === identity.shim.pid && stat.start >= identity.shim.start),
    jobAlive:
      job !== undefined &&
      (table.isAlive(job) || all.some((stat) => stat.session === job.pid && isOurs(stat))),
  };
}

/** What a change is: everything but sizes. */
function essence(state: ExecState): string {
  return JSON.stringify([state.status, state.warnings, state.cancel_requested]);
}

function unjudged(found: FolderSnapshot): never {
  throw new Error(`the exec ${found.id} belongs to another host`);
}
