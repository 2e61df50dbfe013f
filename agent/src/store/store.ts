import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  failpoint,
  hostId,
  type Logger,
  makePrivateDir,
  ProcessTable,
  systemClock,
} from '@codex-remote/platform';
import {
  type ExecEnded,
  type ExecReport,
  type ExecState,
  isEnded,
  type QueueSettings,
  type QueueView,
  type SignalName,
} from '@codex-remote/protocol/schema';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import { ArtifactStep } from '../artifacts/artifact-step.ts';
import { type ArtifactLimits, defaultArtifactLimits } from '../artifacts/limits.ts';
import { currentUser, type LoginEnvironment, type User } from '../environment/login-environment.ts';
import { EnvironmentSource } from '../environment/source.ts';
import { adoptAll } from '../exec/adoption.ts';
import { DiskReserve, defaultDiskReserveBytes, defaultLogReserveBytes } from '../exec/disk-reserve.ts';
import { currentState, Entries, type Entry } from '../exec/entries.ts';
import { Gate } from '../exec/gate.ts';
import { Launcher } from '../exec/launcher.ts';
import { LogLimits } from '../exec/log-limits.ts';
import type { Machine } from '../exec/machine.ts';
import { endRemains } from '../exec/remains.ts';
import { Retainer } from '../exec/retainer.ts';
import { defaultRetention, type RetentionLimits } from '../exec/retention.ts';
import { Settler, type SettlerOptions } from '../exec/settle.ts';
import { Tombstones } from '../exec/tombstones.ts';
import { Watches } from '../exec/watches.ts';
import type { ExecFolder } from '../folder/folder.ts';
import { GitParts } from '../git/git-parts.ts';
import { defaultWorktreeLimits, type WorktreeLimits } from '../git/worktree-retention.ts';
import { HolePuncher } from '../logs/hole-puncher.ts';
import type { LogReserve } from '../logs/log-keeper.ts';
import type { LogSource } from '../logs/read-logs.ts';
import { readTail } from '../logs/tail.ts';
import { PolicyFile } from '../policy/policy-file.ts';
import { Backlog } from '../queue/backlog.ts';
import { QueueSettingsFile } from '../queue/queue-settings.ts';
import { ShimFactory } from '../shim/shim-factory.ts';
import { ShimSupply } from '../shim/shim-supply.ts';
import { findTool, findTools, type ShimTools } from '../shim/spawn.ts';
import { Acceptance, type StartRequest, type StartResult } from './acceptance.ts';
import { digestKey } from './digest.ts';
import { Spool } from './spool.ts';

export type { StartRequest, StartResult } from './acceptance.ts';

export interface ExecStoreOptions {
  /** The agent's home, `<base>/<host id>/<controller id>`. Its lock is held by the caller for as long as the store is open. */
  readonly home: string;
  readonly clock?: Clock;
  readonly table?: ProcessTable;
  readonly hostId?: string;
  readonly user?: User;
  /** Where shim.sh lies when not beside this file. */
  readonly shim?: string;
  readonly tools?: ShimTools;
  /** What does the work of `fallocate`. */
  readonly puncher?: string;
  readonly retention?: RetentionLimits;
  readonly worktrees?: WorktreeLimits;
  readonly artifacts?: ArtifactLimits;
  /** What is done between the end of a job and its verdict, in this order, in place of what there is to do. */
  readonly settle?: Partial<Pick<SettlerOptions, 'steps' | 'limits'>>;
  /** Starts are refused with `disk_low` when less is free. */
  readonly diskReserveBytes?: number;
  /** Logs whose limit cannot be kept wait when less is free. */
  readonly logReserve?: LogReserve;
  /** Shims that wait for a job. */
  readonly spares?: number;
  /** Hears of what is damaged or cannot be read. */
  readonly log?: Pick<Logger, 'warn'>;
  /** False: nothing queued is started, as for one who only looks. */
  readonly dispatch?: boolean;
}

export interface CancelResult {
  readonly state: ExecState;
  readonly already_finished: boolean;
  readonly leftover_pids: number[];
}

const defaultSpares = 3;

/** A state and two tails: with its frame it is within `maxFrameBytes`. */
const maxReportBytes = 63 * 1024;

/**
 * All execs of this agent. The folders are the truth and this is their cache: opening it after any crash finds every exec
 * as it is, watches those that run, and judges the rest. `close` ends the watching; the execs go on.
 */
export class ExecStore {
  readonly environment: EnvironmentSource;
  /** What of new requests is let in. */
  readonly policy: PolicyFile;
  /** Projects, and the worktrees of execs. */
  readonly git: GitParts;
  readonly #staging: string;
  readonly #clock: Clock;
  readonly #machine: Machine;
  readonly #gate: Gate;
  readonly #supply: ShimSupply;
  readonly #tombstones: Tombstones;
  readonly #entries: Entries;
  readonly #logLimits: LogLimits;
  readonly #watches: Watches;
  readonly #retainer: Retainer;
  readonly #backlog: Backlog;
  readonly #acceptance: Acceptance;
  #closed = false;

  /** Throws `state_unusable`. */
  constructor(options: ExecStoreOptions) {
    const { home } = options;
    const clock = options.clock ?? systemClock;
    this.#clock = clock;
    const table = options.table ?? new ProcessTable();
    const tools = options.tools ?? findTools(options.shim);
    const machine: Machine = {
      table,
      clock,
      hostId: options.hostId ?? hostId(),
      bootId: table.bootId(),
      kill: (pid, signal) => void process.kill(pid, signal),
    };
    this.#machine = machine;
    const execs = join(home, 'execs');
    const queued = join(home, 'queued');
    this.#staging = join(home, 'staging');
    makePrivateDir(home);
    makePrivateDir(execs);
    makePrivateDir(queued);
    // Shims of an agent that is gone met the end of their gate; half-written spools are nobody's.
    makePrivateDir(this.#staging);
    for (const name of readdirSync(this.#staging))
      rmSync(join(this.#staging, name), { recursive: true, force: true });
    this.policy = new PolicyFile(join(home, 'policy.json'));
    const key = digestKey(join(home, 'digest.key'));
    this.#tombstones = new Tombstones(join(home, 'tombstones.db'));
    this.#gate = new Gate(execs);
    this.environment = new EnvironmentSource({
      user: options.user ?? currentUser(),
      clock,
      dir: this.#staging,
      tools,
    });
    const factory = new ShimFactory(this.#staging, tools, table);
    this.#supply = new ShimSupply(factory, this.environment, options.spares ?? defaultSpares, clock);
    this.#entries = new Entries(this.#tombstones, this.#staging);
    const puncher = new HolePuncher(options.puncher ?? findTool('fallocate'), this.#staging);
    const logReserve = options.logReserve ?? new DiskReserve(home, defaultLogReserveBytes);
    this.#logLimits = new LogLimits(clock, puncher, logReserve);
    const reserve = new DiskReserve(home, options.diskReserveBytes ?? defaultDiskReserveBytes);
    this.git = new GitParts({
      home,
      staging: this.#staging,
      environment: this.environment,
      reserve,
      entries: this.#entries,
      clock,
      table,
      limits: options.worktrees ?? defaultWorktreeLimits,
      log: options.log,
    });
    const artifacts = new ArtifactStep(clock, options.artifacts ?? defaultArtifactLimits);
    const steps = [artifacts, this.git.results.settleStep];
    const settler = new Settler({ steps, ...options.settle, clock, log: options.log });
    this.#watches = new Watches(machine, this.#entries, this.#logLimits, settler);
    this.#retainer = new Retainer(
      this.#entries,
      this.#tombstones,
      options.retention ?? defaultRetention,
      clock,
    );
    const launcher = new Launcher({
      machine,
      environment: this.environment,
      gate: this.#gate,
      supply: this.#supply,
      watches: this.#watches,
    });
    this.#backlog = new Backlog({
      queued,
      execs,
      machine,
      reserve,
      supply: this.#supply,
      launcher,
      worktrees: this.git.worktrees,
      entries: this.#entries,
      tombstones: this.#tombstones,
      settings: new QueueSettingsFile(join(home, 'queues.json'), options.log),
      log: options.log,
    });
    this.#acceptance = new Acceptance({
      execs,
      digestKey: key,
      machine,
      policy: this.policy,
      reserve,
      gate: this.#gate,
      supply: this.#supply,
      launcher,
      worktrees: this.git.worktrees,
      backlog: this.#backlog,
      entries: this.#entries,
      tombstones: this.#tombstones,
    });
    adoptAll(execs, machine, { entries: this.#entries, watches: this.#watches, log: options.log });
    this.#backlog.adopt();
    if (options.dispatch !== false) {
      this.git.adopt();
      this.#backlog.open();
    }
    this.#supply.renew();
    this.#retainer.soon();
  }

  /** A file for a script or stdin that is coming in. */
  spool(): Promise<Spool> {
    return Spool.create(this.#staging);
  }

  /**
   * Accepts and starts an exec, or attaches to the one that has its id. The reply means: on disk, and started, queued or
   * judged. Throws `conflict`, `policy_refused`, `disk_low`, `args_too_long`, `fds_exhausted`, `state_unusable`, `exec_not_found` or
   * `ambiguous_id` for a predecessor, and for a worktree what `Worktrees` throws: then nothing was accepted.
   */
  start(request: StartRequest): Promise<StartResult> {
    return this.#acceptance.start(request);
  }

  /** Throws `exec_not_found`, with `removed_at` when retention took it. */
  get(id: string): ExecState {
    return currentState(this.#entries.get(id));
  }

  /** Throws as `get` does. */
  folderOf(id: string): ExecFolder {
    return this.#entries.get(id).folder;
  }

  /** The state and the last bytes of both streams. Throws as `get` does. */
  report(id: string, tailBytes: number): ExecReport {
    const entry = this.#entries.get(id);
    const state = currentState(entry);
    const room = Math.floor((maxReportBytes - Buffer.byteLength(JSON.stringify(state))) / 2);
    if (tailBytes === 0) return { state };
    const { folder } = entry;
    const inodes = folder.journal()?.identity?.log_inodes;
    const [stdout, stderr] = (['stdout', 'stderr'] as const).map((name) =>
      readTail(folder.file(name), Math.min(tailBytes, room), folder.released.of(name), inodes?.[name]),
    );
    return { state, ...(stdout && { stdout_tail: stdout }), ...(stderr && { stderr_tail: stderr }) };
  }

  /**
   * Ends an exec, or what one that has ended left running; one that is queued never runs. Returns when its processes are
   * gone, or names what could not be ended. Throws as `get` does, and `disk_low` or `state_unusable` when a queued one's
   * end cannot be kept.
   */
  async cancel(id: string, signal: SignalName, graceMs: number): Promise<CancelResult> {
    if (await this.#backlog.cancel(id, signal)) {
      const state = this.get(id);
      return { state, already_finished: !state.cancel_requested, leftover_pids: [] };
    }
    const entry = this.#entries.get(id);
    const { supervisor, folder } = entry;
    supervisor?.look();
    if (supervisor && !isEnded(supervisor.state)) {
      const leftover = await supervisor.cancel('cancel', signal, graceMs);
      const state = currentState(entry);
      if (state.cancel_requested) return { state, already_finished: false, leftover_pids: leftover };
    }
    const leftover = await endRemains(folder, this.#machine, signal, graceMs, () => this.#closed);
    return { state: currentState(entry), already_finished: true, leftover_pids: leftover };
  }

  /** For readers of logs. Throws as `get` does. */
  logSource(id: string): LogSource {
    const entries = this.#entries;
    return {
      get folder() {
        return entries.get(id).folder;
      },
      state: () => this.get(id),
      left: entries.get(id).waiting?.left,
      ended: this.ended(id),
    };
  }

  /** Resolves when the exec has ended. Throws as `get` does. */
  async ended(id: string): Promise<ExecEnded> {
    for (;;) {
      const entry = this.#entries.get(id);
      if (isEnded(entry.state)) return entry.state;
      if (entry.supervisor) return entry.supervisor.ended;
      if (!entry.waiting) throw new RemoteError('internal', `exec ${id} is not watched`);
      await entry.waiting.left;
    }
  }

  /** In the order in which they were accepted. */
  queuedIds(): string[] {
    return this.#backlog.ids();
  }

  /** The queues that were set or have execs. */
  queues(): QueueView[] {
    return this.#backlog.view();
  }

  /** Durable when it returns. Throws `usage`, `disk_low`, `state_unusable`. */
  setQueues(concurrency: QueueSettings): QueueView[] {
    this.#backlog.set(concurrency);
    return this.#backlog.view();
  }

  runningIds(): string[] {
    return this.#ids((entry) => entry.supervisor !== undefined);
  }

  /** Every exec that is queued or runs, and every ended one that the controller has not acknowledged. */
  unacknowledgedIds(): string[] {
    this.#entries.readAgain();
    return this.#ids((entry) => !entry.acknowledged);
  }

  /** The end of these execs is in the controller's history. Ids that are unknown or run are ignored. */
  acknowledge(ids: readonly string[]): void {
    for (const id of ids) {
      const entry = this.#entries.find(id);
      if (!entry || entry.acknowledged || !isEnded(entry.state)) continue;
      if (entry.state.ephemeral) {
        void this.#entries.remove(id).catch(() => undefined);
        continue;
      }
      entry.acknowledged = true;
      failpoint('agent.acknowledged.before');
      entry.acknowledgedMs = this.#clock.wall();
      entry.folder.note({ acknowledged: true, acknowledged_ms: entry.acknowledgedMs });
      failpoint('agent.acknowledged.after');
    }
    this.#retainer.soon();
  }

  /** Called at each change of a state, not of its numbers. Returns what ends it. */
  onChange(listener: (state: ExecState) => void): () => void {
    return this.#entries.onChange(listener);
  }

  /** Captures the login environment anew; execs that start later get it. */
  async refreshEnvironment(): Promise<LoginEnvironment> {
    const fresh = await this.environment.refresh();
    this.#supply.renew();
    return fresh;
  }

  /** Ends watches, timers and spares. Execs go on; the next store finds them. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#acceptance.close();
    this.#backlog.close();
    this.#supply.close();
    this.#retainer.close();
    this.git.close();
    this.#watches.close();
    this.#logLimits.close();
    this.#entries.close();
    this.#gate.close();
    this.#tombstones.close();
  }

  #ids(has: (entry: Entry) => boolean): string[] {
    return this.#entries
      .all()
      .filter(has)
      .map((entry) => entry.folder.id);
  }
}
