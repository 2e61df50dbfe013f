import { randomBytes } from 'node:crypto';
import { closeSync, constants, openSync, readSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { failpoint } from '@codex-remote/platform';
import type { ExecEnded, ExecSpec, ExecState } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { EnvironmentSource } from '../environment/source.ts';
import { ExecFolder } from '../folder/folder.ts';
import { writeLine } from '../folder/journal.ts';
import type { StoredIdentity, StoredSpec } from '../folder/stored.ts';
import { checkArgsFit, commandLine, resolveCommand, systemArgsLimit } from './command.ts';
import { requestDigest } from './digest.ts';
import type { DiskReserve } from './disk-reserve.ts';
import { currentState, type Entries } from './entries.ts';
import type { Gate } from './gate.ts';
import { jobEnvironment, splitUncarried } from './job-env.ts';
import { failedToStart } from './judge.ts';
import type { Machine } from './machine.ts';
import { asRefusal } from './shim-factory.ts';
import type { ShimOrder, ShimSupply } from './shim-supply.ts';
import type { Spooled } from './spool.ts';
import type { StartedExec } from './supervisor.ts';
import type { Tombstones } from './tombstones.ts';
import type { Watches } from './watches.ts';

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

/** Everything a request meets on its way; the store owns it all. */
export interface AcceptanceParts {
  readonly execs: string;
  readonly digestKey: Buffer;
  readonly machine: Machine;
  readonly environment: EnvironmentSource;
  readonly reserve: DiskReserve;
  readonly gate: Gate;
  readonly supply: ShimSupply;
  readonly entries: Entries;
  readonly tombstones: Tombstones;
  readonly watches: Watches;
}

/** PATH_MAX: a report of an exec stays within a frame. */
const maxPathCharacters = 4096;

/** The way of a request to an exec that is on disk, and started or judged. An id goes it once. */
export class Acceptance {
  readonly #parts: AcceptanceParts;
  readonly #argsLimit = systemArgsLimit();
  /** Ids between their first sight and their gate. */
  readonly #starting = new Map<string, { digest: string; done: Promise<ExecState> }>();
  #closed = false;

  constructor(parts: AcceptanceParts) {
    this.#parts = parts;
  }

  /** See `ExecStore.start`. */
  async start(request: StartRequest): Promise<StartResult> {
    try {
      return await this.#start(request);
    } finally {
      // What became part of the exec is no longer at this path.
      for (const spooled of [request.script, request.stdin])
        if (spooled) rmSync(spooled.path, { force: true });
    }
  }

  /** What is not under way is refused from now on. */
  close(): void {
    this.#closed = true;
  }

  async #start(request: StartRequest): Promise<StartResult> {
    const { spec } = request;
    const id = spec.exec_id;
    const digest = requestDigest(this.#parts.digestKey, spec, {
      ...(request.script && { script: request.script.sha256 }),
      ...(request.stdin && { stdin: request.stdin.sha256 }),
    });
    const known = this.#attach(id, digest);
    if (known) return { state: await known, attached: true };
    // From here to the gate nothing else may take the id: it is noted before the first wait.
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
    const entry = this.#parts.entries.find(id);
    if (entry) {
      const state = currentState(entry);
      same(state.digest);
      return state;
    }
    const tombstone = this.#parts.tombstones.get(id);
    if (tombstone) same(tombstone.state.digest);
    return tombstone?.state;
  }

  async #accept(request: StartRequest, digest: string): Promise<ExecState> {
    if (this.#closed) throw new RemoteError('shutting_down', 'the agent is stopping', { sent: 'no' });
    const { environment, execs, reserve } = this.#parts;
    reserve.check();
    const { spec, script, stdin } = request;
    const folder = new ExecFolder(execs, spec.exec_id);
    const login = await environment.current();
    const { user } = environment;
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
    return this.#acceptJob(folder, {
      job: { id: spec.exec_id, mark: stored.mark, cwd: command.cwd, argv },
      spec: stored,
      env: carried,
      umask: login.umask,
      ...(script && { script }),
      ...(stdin && { stdin }),
    });
  }

  async #acceptJob(folder: ExecFolder, order: ShimOrder): Promise<ExecState> {
    const { supply, gate, watches } = this.#parts;
    const { table, clock } = this.#parts.machine;
    const { spec, job, script } = order;
    const staged = await supply.take(order);
    let identity: StoredIdentity;
    try {
      if (script) renameSync(script.path, join(staged.path, 'script'));
      const entered = gate.enter(staged.path, staged.journal, folder, spec);
      // Takes a tenth of a millisecond, so it is read while the disk is at work.
      const bootedAt = clock.monotonic() - table.uptimeMs();
      await entered;
      identity = {
        shim: staged.identity,
        started_ms: clock.wall(),
        started_uptime_ms: Math.round(clock.monotonic() - bootedAt),
        log_inodes: staged.logInodes,
      };
      failpoint('agent.identity.before');
      writeLine(staged.journal, { identity });
      failpoint('agent.identity.after');
    } catch (error) {
      // The gate is shut for ever: nothing ran. A folder that was there already is another exec's.
      supply.discard(staged);
      if (!isConflict(error)) folder.remove();
      throw asRefusal(error);
    }
    staged.open(job);
    failpoint('agent.go.after');
    closeSync(staged.journal);
    supply.refill();
    return watches.watch(folder, startedExec(folder.id, spec, identity), staged.shim);
  }

  /** Accepted like any other, so that its id is taken and its end is reported. */
  async #acceptFailed(
    folder: ExecFolder,
    spec: StoredSpec,
    exitCode: number,
    why: string,
  ): Promise<ExecState> {
    const { supply, gate, entries, machine } = this.#parts;
    const staged = await supply.takeFolder();
    let state: ExecEnded;
    try {
      await gate.enter(staged.path, staged.journal, folder, spec);
      state = failedToStart(folder.snapshot(), machine.clock.wall(), exitCode, why);
      failpoint('agent.end.before');
      writeLine(staged.journal, { end: state });
      failpoint('agent.end.after');
    } catch (error) {
      rmSync(staged.path, { recursive: true, force: true });
      if (!isConflict(error)) folder.remove();
      throw asRefusal(error);
    } finally {
      closeSync(staged.journal);
    }
    entries.add({ folder, state, supervisor: undefined, acknowledged: false });
    entries.changed(state);
    return state;
  }

  #storedSpec(spec: ExecSpec, digest: string, cwd: string, warnings: readonly string[]): StoredSpec {
    const { hostId, bootId, clock } = this.#parts.machine;
    return {
      version: 1,
      exec_id: spec.exec_id,
      digest,
      mark: randomBytes(16).toString('hex'),
      host_id: hostId,
      boot_id: bootId,
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
      accepted_ms: clock.wall(),
      warnings: [...warnings],
    };
  }
}

function isConflict(error: unknown): boolean {
  return error instanceof RemoteError && error.code === 'conflict';
}

/** The folder of an exec at the moment its gate opens, without reading it. */
function startedExec(id: string, spec: StoredSpec, identity: StoredIdentity): StartedExec {
  return {
    id,
    journal: { spec, identity, orphaned: false, acknowledged: false },
    shimText: '',
    stdoutBytes: 0,
    stderrBytes: 0,
  };
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
