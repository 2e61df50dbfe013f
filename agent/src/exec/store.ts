import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statfsSync,
} from 'node:fs';
import { join } from 'node:path';
import { hostId, makePrivateDir, ProcessTable, systemClock } from '@codex-remote/platform';
import {
  type ExecEnded,
  type ExecReport,
  type ExecSpec,
  type ExecState,
  execIdPattern,
  isEnded,
  type SignalName,
} from '@codex-remote/protocol/schema';
import { type Clock, RemoteError, type Timer } from '@codex-remote/protocol/wire';
import { currentUser, type LoginEnvironment, type User } from '../environment/login-environment.ts';
import { EnvironmentSource } from '../environment/source.ts';
import { ExecFolder } from '../folder/folder.ts';
import type { StoredIdentity, StoredSpec } from '../folder/stored.ts';
import type { LogSource } from '../logs/read-logs.ts';
import { readTail } from '../logs/tail.ts';
import { TimeSampler } from '../logs/time-sampler.ts';
import { checkArgsFit, commandLine, resolveCommand, systemArgsLimit } from './command.ts';
import { digestKey, requestDigest } from './digest.ts';
import { type Failpoint, Gate } from './gate.ts';
import { jobEnvironment, splitUncarried } from './job-env.ts';
import { failedToStart, judge } from './judge.ts';
import { defaultRetention, overRetention, type RetentionLimits } from './retention.ts';
import { asRefusal, ShimFactory, type StagedShim } from './shim-factory.ts';
import { Spares } from './spares.ts';
import { canTake, findTools, type JobStart, type ShimTools } from './spawn.ts';
import { Spool, type Spooled } from './spool.ts';
import { probeWithoutShim, Supervisor, type SupervisorContext } from './supervisor.ts';
import { Tombstones } from './tombstones.ts';

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
  readonly retention?: RetentionLimits;
  /** Starts are refused with `disk_low` when less is free. */
  readonly diskReserveBytes?: number;
  /** Shims that wait for a job. */
  readonly spares?: number;
  /** Called at named moments of a start; tests end the process there. */
  readonly failpoint?: (name: Failpoint) => void;
}

/** What a start consists of. The spooled files belong to the store from the call on. */
export interface StartRequest {
  readonly spec: ExecSpec;
  readonly script?: Spooled;
  readonly stdin?: Spooled;
}

export interface StartResult {
  readonly state: ExecState;
  /** The id was known with the same request: nothing was started. */
  readonly attached: boolean;
}

export interface CancelResult {
  readonly state: ExecState;
  readonly already_finished: boolean;
  readonly leftover_pids: number[];
}

interface Entry {
  readonly folder: ExecFolder;
  /** Of an ended exec; a running one asks its supervisor. */
  state: ExecState;
  supervisor: Supervisor | undefined;
  acknowledged: boolean;
}

const defaultDiskReserveBytes = 64 * 1024 * 1024;
const defaultSpares = 3;
/** PATH_MAX: a report of an exec stays within a frame. */
const maxPathCharacters = 4096;
/** Behind the watches: finds what no event told, such as a shim that died with its waiter. */
const pollMs = 2_000;
/** Retention is looked after so long after an acknowledgement, many at once. */
const retentionDelayMs = 1_000;

/**
 * All execs of this agent. The folders are the truth and this is their cache: opening it after any crash finds every exec
 * as it is, watches those that run, and judges the rest. `close` ends the watching; the execs go on.
 */
export class ExecStore {
  readonly environment: EnvironmentSource;
  readonly #execs: string;
  readonly #staging: string;
  readonly #home: string;
  readonly #clock: Clock;
  readonly #key: Buffer;
  readonly #gate: Gate;
  readonly #factory: ShimFactory;
  readonly #spares: Spares;
  readonly #tombstones: Tombstones;
  readonly #retention: RetentionLimits;
  readonly #diskReserveBytes: number;
  readonly #failpoint: (name: Failpoint) => void;
  readonly #argsLimit = systemArgsLimit();
  readonly #context: Omit<SupervisorContext, 'output'>;
  readonly #entries = new Map<string, Entry>();
  /** Those of running execs, and of ended ones whose last processes are being ended. */
  readonly #supervisors = new Set<Supervisor>();
  /** Ids between their first sight and their gate. */
  readonly #starting = new Map<string, { digest: string; done: Promise<ExecState> }>();
  readonly #listeners = new Set<(state: ExecState) => void>();
  readonly #timers = new Set<Timer>();
  #retaining = false;
  #closed = false;

  /** Throws `state_unusable`. */
  constructor(options: ExecStoreOptions) {
    this.#home = options.home;
    this.#execs = join(options.home, 'execs');
    this.#staging = join(options.home, 'staging');
    this.#clock = options.clock ?? systemClock;
    this.#retention = options.retention ?? defaultRetention;
    this.#diskReserveBytes = options.diskReserveBytes ?? defaultDiskReserveBytes;
    this.#failpoint = options.failpoint ?? (() => undefined);
    const table = options.table ?? new ProcessTable();
    const tools = options.tools ?? findTools(options.shim);
    makePrivateDir(options.home);
    makePrivateDir(this.#execs);
    // Shims of an agent that is gone met the end of their gate; half-written spools are nobody's.
    rmSync(this.#staging, { recursive: true, force: true });
    makePrivateDir(this.#staging);
    this.#key = digestKey(join(options.home, 'digest.key'));
    this.#tombstones = new Tombstones(join(options.home, 'tombstones.db'));
    this.#gate = new Gate(this.#execs, this.#failpoint);
    this.#factory = new ShimFactory(this.#staging, tools, table);
    this.environment = new EnvironmentSource({
      user: options.user ?? currentUser(),
      clock: this.#clock,
      dir: this.#staging,
      tools,
    });
    this.#spares = new Spares(
      () => this.#makeSpare(),
      (staged) => this.#factory.discard(staged),
      options.spares ?? defaultSpares,
      this.#clock,
    );
    this.#context = {
      table,
      clock: this.#clock,
      hostId: options.hostId ?? hostId(),
      bootId: table.bootId(),
      kill: (pid, signal) => void process.kill(pid, signal),
      changed: (state) => this.#changed(state),
    };
    this.#load();
    this.#spares.renew();
    this.#poll();
    this.#retainSoon();
  }

  /** A file for a script or stdin that is coming in. */
  spool(): Promise<Spool> {
    return Spool.create(this.#staging);
  }

  /**
   * Accepts and starts an exec, or attaches to the one that has its id. The reply means: on disk, and started or judged.
   * Throws `conflict`, `disk_low`, `args_too_long`, `fds_exhausted`, `state_unusable`: then nothing was accepted.
   */
  async start(request: StartRequest): Promise<StartResult> {
    try {
      return await this.#start(request);
    } finally {
      // What became part of the exec is no longer at this path.
      for (const spooled of [request.script, request.stdin])
        if (spooled) rmSync(spooled.path, { force: true });
    }
  }

  /** Throws `exec_not_found`, with `removed_at` when retention took it. */
  get(id: string): ExecState {
    return this.#fresh(this.#entry(id));
  }

  /** The state and the last bytes of both streams. Throws as `get` does. */
  report(id: string, tailBytes: number): ExecReport {
    const entry = this.#entry(id);
    const state = this.#fresh(entry);
    if (tailBytes === 0) return { state };
    const stdout = readTail(entry.folder.file('stdout'), tailBytes);
    const stderr = readTail(entry.folder.file('stderr'), tailBytes);
    return { state, ...(stdout && { stdout_tail: stdout }), ...(stderr && { stderr_tail: stderr }) };
  }

  /**
   * Ends an exec. Returns when its processes are gone, or names what could not be ended. Throws as `get` does.
   */
  async cancel(id: string, signal: SignalName, graceMs: number): Promise<CancelResult> {
    const entry = this.#entry(id);
    const supervisor = entry.supervisor;
    supervisor?.look();
    if (!supervisor || isEnded(supervisor.state)) {
      return { state: this.#fresh(entry), already_finished: true, leftover_pids: [] };
    }
    const leftover = await supervisor.cancel('cancel', signal, graceMs);
    const state = this.#fresh(entry);
    return { state, already_finished: !state.cancel_requested, leftover_pids: leftover };
  }

  /** For readers of logs. Throws as `get` does. */
  logSource(id: string): LogSource {
    const { folder } = this.#entry(id);
    return { folder, state: () => this.get(id), ended: this.ended(id) };
  }

  /** Resolves when the exec has ended. Throws as `get` does. */
  async ended(id: string): Promise<ExecEnded> {
    const entry = this.#entry(id);
    if (isEnded(entry.state)) return entry.state;
    if (!entry.supervisor) throw new RemoteError('internal', `exec ${id} is not watched`);
    return entry.supervisor.ended;
  }

  runningIds(): string[] {
    return [...this.#entries.values()].filter((entry) => entry.supervisor).map((entry) => entry.folder.id);
  }

  /** Every exec that runs, and every ended one that the controller has not acknowledged. */
  unacknowledgedIds(): string[] {
    return [...this.#entries.values()].filter((entry) => !entry.acknowledged).map((entry) => entry.folder.id);
  }

  /** The end of these execs is in the controller's history. Ids that are unknown or run are ignored. */
  acknowledge(ids: readonly string[]): void {
    for (const id of ids) {
      const entry = this.#entries.get(id);
      if (!entry || entry.acknowledged || !isEnded(entry.state)) continue;
      if (entry.state.ephemeral) {
        this.#entries.delete(id);
        entry.folder.remove();
        continue;
      }
      entry.acknowledged = true;
      entry.folder.note({ acknowledged: true });
    }
    this.#retainSoon();
  }

  /** Called at each change of a state, not of its numbers. Returns what ends it. */
  onChange(listener: (state: ExecState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Captures the login environment anew; execs that start later get it. */
  async refreshEnvironment(): Promise<LoginEnvironment> {
    const fresh = await this.environment.refresh();
    this.#spares.renew();
    return fresh;
  }

  /** Ends watches, timers and spares. Execs go on; the next store finds them. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#spares.close();
    for (const timer of this.#timers) timer.cancel();
    for (const supervisor of this.#supervisors) supervisor.close();
    this.#listeners.clear();
    this.#gate.close();
    this.#tombstones.close();
  }

  async #start(request: StartRequest): Promise<StartResult> {
    const { spec } = request;
    const id = spec.exec_id;
    const digest = requestDigest(this.#key, spec, {
      ...(request.script && { script: request.script.sha256 }),
      ...(request.stdin && { stdin: request.stdin.sha256 }),
    });
    const known = this.#attach(id, digest);
    if (known) return { state: await known, attached: true };
    // From here to the gate nothing else may take the id: the entry is there before the first wait.
    const done = this.#accept(request, digest);
    this.#starting.set(id, { digest, done });
    try {
      return { state: await done, attached: false };
    } finally {
      this.#starting.delete(id);
    }
  }

  /** Undefined when the id is new. Throws `conflict`. */
  #attach(id: string, digest: string): Promise<ExecState> | ExecState | undefined {
    const same = (other: string): void => {
      if (other === digest || other === '') return;
      throw new RemoteError('conflict', `conflict: exec ${id} exists with another request`, { exec_id: id });
    };
    const starting = this.#starting.get(id);
    if (starting) {
      same(starting.digest);
      return starting.done;
    }
    const entry = this.#entries.get(id);
    if (entry) {
      const state = this.#fresh(entry);
      same(state.digest);
      return state;
    }
    const tombstone = this.#tombstones.get(id);
    if (tombstone) same(tombstone.state.digest);
    return tombstone?.state;
  }

  async #accept(request: StartRequest, digest: string): Promise<ExecState> {
    if (this.#closed) throw new RemoteError('shutting_down', 'the agent is stopping', { sent: 'no' });
    this.#checkDisk();
    const { spec, script } = request;
    const folder = new ExecFolder(this.#execs, spec.exec_id);
    const login = await this.environment.current();
    const { user } = this.environment;
    const env = jobEnvironment(login.env, spec.env, user.home);
    const command = resolveCommand(spec, {
      env,
      home: user.home,
      shell: login.env.SHELL ?? user.shell,
      ...(script && { script: { path: folder.file('script'), head: readHead(script.path) } }),
    });
    const stored = this.#storedSpec(spec, digest, command.cwd, login.warnings);
    if (command.kind === 'failed') return this.#acceptFailed(folder, stored, command.exitCode, command.why);
    const { carried, uncarried } = splitUncarried(env);
    const argv = uncarried.length > 0 ? ['/usr/bin/env', ...uncarried, ...command.argv] : command.argv;
    checkArgsFit(argv, env, this.#argsLimit);
    const job: JobStart = { id: spec.exec_id, mark: stored.mark, cwd: command.cwd, argv };
    return this.#acceptJob(folder, stored, job, carried, login.umask, request);
  }

  async #acceptJob(
    folder: ExecFolder,
    spec: StoredSpec,
    job: JobStart,
    env: Readonly<Record<string, string>>,
    umask: number,
    request: StartRequest,
  ): Promise<ExecState> {
    const staged = await this.#stage(spec, job, env, umask, request);
    const { table, clock } = this.#context;
    let identity: StoredIdentity;
    try {
      if (request.script) renameSync(request.script.path, join(staged.path, 'script'));
      await this.#gate.enter(staged.path, staged.journal, folder, spec);
      identity = {
        shim: staged.identity,
        started_ms: clock.wall(),
        started_uptime_ms: table.uptimeMs(),
        log_inodes: staged.logInodes,
      };
      folder.note({ identity });
      this.#failpoint('before_go');
    } catch (error) {
      // The gate is shut for ever: nothing ran. A folder that was there already is another exec's.
      this.#factory.discard(staged);
      if (!(error instanceof RemoteError && error.code === 'conflict')) folder.remove();
      throw asRefusal(error);
    }
    closeSync(staged.journal);
    staged.open(job);
    this.#failpoint('after_go');
    this.#spares.refill();
    return this.#supervise(folder, spec, identity, staged).state;
  }

  /** A spare when the job asks for nothing of its own, else a shim made for it. */
  async #stage(
    spec: StoredSpec,
    job: JobStart,
    env: Readonly<Record<string, string>>,
    umask: number,
    request: StartRequest,
  ): Promise<StagedShim> {
    const plain =
      spec.env_names.length === 0 && !spec.merge && !request.stdin && !request.script && canTake(job);
    const spare = plain ? this.#spares.take() : undefined;
    if (spare) return spare;
    const stdin = request.stdin && openAndUnlink(request.stdin.path);
    return this.#factory.stage({ env, umask, merge: spec.merge, job, ...(stdin !== undefined && { stdin }) });
  }

  /** Accepted like any other, so that its id is taken and its end is reported. */
  async #acceptFailed(
    folder: ExecFolder,
    spec: StoredSpec,
    exitCode: number,
    why: string,
  ): Promise<ExecState> {
    const staged = await this.#factory.stageFolder();
    let state: ExecEnded;
    try {
      await this.#gate.enter(staged.path, staged.journal, folder, spec);
      state = failedToStart(folder.snapshot(), this.#clock.wall(), exitCode, why);
      folder.note({ end: state });
    } catch (error) {
      rmSync(staged.path, { recursive: true, force: true });
      if (!(error instanceof RemoteError && error.code === 'conflict')) folder.remove();
      throw asRefusal(error);
    } finally {
      closeSync(staged.journal);
    }
    this.#entries.set(folder.id, { folder, state, supervisor: undefined, acknowledged: false });
    this.#changed(state);
    return state;
  }

  #supervise(folder: ExecFolder, spec: StoredSpec, identity: StoredIdentity, staged: StagedShim): Supervisor {
    const found = {
      id: folder.id,
      journal: { spec, identity, orphaned: false, acknowledged: false },
      shimText: '',
      stdoutBytes: 0,
      stderrBytes: 0,
    };
    const sampler = new TimeSampler(folder.path, this.#clock);
    const supervisor = new Supervisor(folder, found, staged.shim, {
      ...this.#context,
      output: (stream) => sampler.touch(stream),
    });
    this.#enter(folder, supervisor, sampler);
    return supervisor;
  }

  #enter(folder: ExecFolder, supervisor: Supervisor, sampler: TimeSampler): void {
    const entry: Entry = { folder, state: supervisor.state, supervisor, acknowledged: false };
    this.#entries.set(folder.id, entry);
    this.#changed(supervisor.state);
    this.#supervisors.add(supervisor);
    supervisor.start();
    void supervisor.settled().then(() => this.#supervisors.delete(supervisor));
    void supervisor.ended.then(() => sampler.close());
  }

  /** Each folder once, at the start. */
  #load(): void {
    for (const id of readdirSync(this.#execs)) {
      if (!execIdPattern.test(id)) continue;
      const folder = new ExecFolder(this.#execs, id);
      const journal = folder.journal();
      if (journal?.end) {
        const { end: state, acknowledged } = journal;
        this.#entries.set(id, { folder, state, supervisor: undefined, acknowledged });
      } else {
        this.#adopt(folder);
      }
    }
  }

  #adopt(folder: ExecFolder): void {
    const { table, bootId, hostId: host } = this.#context;
    const found = folder.snapshot();
    const { spec, identity } = found.journal ?? {};
    const sameBoot = spec?.boot_id === bootId && spec.host_id === host;
    const shimAlive = sameBoot && identity !== undefined && table.isAlive(identity.shim);
    const processes = shimAlive
      ? { shimAlive, shimSessionAlive: true, jobAlive: true }
      : sameBoot && identity
        ? probeWithoutShim(found, identity, table)
        : { shimAlive: false, shimSessionAlive: false, jobAlive: false };
    // Pumps that are still at it get their time, under a supervisor.
    const exitKnownMs = shimAlive ? 0 : Number.POSITIVE_INFINITY;
    const state = judge(found, { bootId, nowMs: this.#clock.wall(), exitKnownMs, ...processes }, host);
    if (!state) return;
    if (!isEnded(state) && found.journal && spec && identity) {
      const sampler = new TimeSampler(folder.path, this.#clock);
      const supervisor = new Supervisor(
        folder,
        { ...found, journal: { ...found.journal, spec, identity } },
        undefined,
        {
          ...this.#context,
          output: (stream) => sampler.touch(stream),
        },
      );
      this.#enter(folder, supervisor, sampler);
      return;
    }
    if (isEnded(state)) folder.note({ end: state });
    this.#entries.set(folder.id, { folder, state, supervisor: undefined, acknowledged: false });
  }

  #changed(state: ExecState): void {
    const entry = this.#entries.get(state.exec_id);
    if (entry) {
      entry.state = state;
      if (isEnded(state)) {
        entry.supervisor = undefined;
        rmSync(entry.folder.file('script'), { force: true });
      }
    }
    for (const listener of this.#listeners) listener(state);
  }

  #entry(id: string): Entry {
    const entry = this.#entries.get(id);
    if (entry) return entry;
    const removed = this.#tombstones.get(id);
    throw new RemoteError('exec_not_found', `exec_id not found: ${id}`, {
      exec_id: id,
      ...(removed && {
        hint: 'retention removed it; its id is remembered and never runs again',
        facts: { removed_at: new Date(removed.removedMs).toISOString() },
      }),
    });
  }

  /** With the sizes of now, where they can still grow. */
  #fresh(entry: Entry): ExecState {
    const { folder } = entry;
    const state = entry.supervisor?.state ?? entry.state;
    if (isEnded(state) && !state.writers_remaining) return state;
    const sizes = { stdout_bytes: folder.bytes('stdout'), stderr_bytes: folder.bytes('stderr') };
    if (state.status !== 'running') return { ...state, ...sizes };
    const lastOutputMs = folder.lastOutputMs();
    const pid = state.pid ?? folder.record()?.job?.pid;
    return {
      ...state,
      ...sizes,
      ...(pid !== undefined && { pid }),
      ...(lastOutputMs !== undefined && { last_output_at: new Date(lastOutputMs).toISOString() }),
    };
  }

  #storedSpec(spec: ExecSpec, digest: string, cwd: string, warnings: readonly string[]): StoredSpec {
    return {
      version: 1,
      exec_id: spec.exec_id,
      digest,
      mark: randomBytes(16).toString('hex'),
      host_id: this.#context.hostId,
      boot_id: this.#context.bootId,
      command: commandLine(spec.command),
      cwd,
      env_names: Object.keys(spec.env),
      merge: spec.merge,
      mode: spec.mode,
      ...(spec.label !== undefined && { label: spec.label }),
      ...(spec.session !== undefined && { session: spec.session }),
      ...(spec.caller_cwd !== undefined && { caller_cwd: spec.caller_cwd.slice(0, maxPathCharacters) }),
      ...(spec.timeout_ms !== undefined && { timeout_ms: spec.timeout_ms }),
      ...(spec.grace_ms !== undefined && { grace_ms: spec.grace_ms }),
      ...(spec.ephemeral && { ephemeral: true }),
      accepted_ms: this.#clock.wall(),
      warnings: [...warnings],
    };
  }

  #checkDisk(): void {
    const stat = statfsSync(this.#home);
    const free = stat.bavail * stat.bsize;
    if (free >= this.#diskReserveBytes) return;
    throw new RemoteError('disk_low', `the machine has ${free} bytes free under ${this.#home}`, {
      hint: `free at least ${this.#diskReserveBytes} bytes there; running execs are kept`,
      sent: 'no',
    });
  }

  async #makeSpare(): Promise<StagedShim> {
    const login = await this.environment.current();
    // What is not carried comes with the arguments, whichever shim takes them.
    const { carried } = splitUncarried(jobEnvironment(login.env, {}, this.environment.user.home));
    return this.#factory.stage({ env: carried, umask: login.umask, merge: false });
  }

  #poll(): void {
    this.#after(pollMs, () => {
      for (const entry of this.#entries.values()) entry.supervisor?.look();
      this.#poll();
    });
  }

  #retainSoon(): void {
    if (this.#retaining) return;
    this.#retaining = true;
    this.#after(retentionDelayMs, () => {
      this.#retaining = false;
      this.#retain();
    });
  }

  #retain(): void {
    const ended = [...this.#entries.values()].flatMap((entry) => {
      if (!entry.acknowledged || !isEnded(entry.state)) return [];
      const { exec_id: id, stdout_bytes, stderr_bytes, ended_at } = entry.state;
      return [{ id, endedMs: ended_at ? Date.parse(ended_at) : 0, bytes: stdout_bytes + stderr_bytes }];
    });
    const over = overRetention(ended, this.#retention, this.#clock.wall());
    const states = over.flatMap((id) => {
      const state = this.#entries.get(id)?.state;
      return state && isEnded(state) ? [state] : [];
    });
    if (states.length === 0) return;
    // Remembered first: between the two an id is known twice, never not at all.
    this.#tombstones.add(states, this.#clock.wall());
    for (const id of over) {
      this.#entries.get(id)?.folder.remove();
      this.#entries.delete(id);
    }
  }

  #after(ms: number, run: () => void): void {
    if (this.#closed) return;
    const timer = this.#clock.setTimer(ms, () => {
      this.#timers.delete(timer);
      if (!this.#closed) run();
    });
    this.#timers.add(timer);
  }
}

/** Nothing of the spool is left in the folders once the job has it. */
function openAndUnlink(path: string): number {
  const fd = openSync(path, constants.O_RDONLY);
  rmSync(path, { force: true });
  return fd;
}

/** Enough for a `#!` line: Linux reads 256 bytes. */
function readHead(path: string): Buffer {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    const head = Buffer.alloc(256);
    return head.subarray(0, readSync(fd, head));
  } finally {
    closeSync(fd);
  }
}
