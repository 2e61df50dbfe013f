import { hash, randomBytes } from 'node:crypto';
import { closeSync, rmSync } from 'node:fs';
import { normalize } from 'node:path';
import { failpoint } from '@codex-remote/platform';
import type { ExecEnded, ExecSpec, ExecState, WorktreeState } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { parseGlobs } from '../artifacts/glob.ts';
import { commandLine } from '../exec/command.ts';
import type { DiskReserve } from '../exec/disk-reserve.ts';
import { currentState, type Entries } from '../exec/entries.ts';
import type { Gate } from '../exec/gate.ts';
import { failedToStart, notStarted } from '../exec/judge.ts';
import {
  type Foreseen,
  isConflict,
  type Launcher,
  type Plan,
  type PlannedScript,
  removeQuietly,
} from '../exec/launcher.ts';
import type { Machine } from '../exec/machine.ts';
import type { Tombstones } from '../exec/tombstones.ts';
import { ExecFolder, type FolderSnapshot } from '../folder/folder.ts';
import { writeLine } from '../folder/journal.ts';
import type { StoredSpec } from '../folder/stored.ts';
import type { Worktrees } from '../git/worktrees.ts';
import type { PolicyFile } from '../policy/policy-file.ts';
import type { Backlog } from '../queue/backlog.ts';
import type { Waits } from '../queue/predecessors.ts';
import { asRefusal } from '../shim/shim-factory.ts';
import type { ShimSupply } from '../shim/shim-supply.ts';
import { requestDigest } from './digest.ts';
import type { Spooled } from './spool.ts';

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
  readonly policy: PolicyFile;
  readonly reserve: DiskReserve;
  readonly gate: Gate;
  readonly supply: ShimSupply;
  readonly launcher: Launcher;
  readonly worktrees: Worktrees;
  readonly backlog: Backlog;
  readonly entries: Entries;
  readonly tombstones: Tombstones;
}

/** PATH_MAX: a report of an exec stays within a frame. */
const maxPathCharacters = 4096;

/** The way of a request to an exec that is on disk, and started or judged. An id goes it once. */
export class Acceptance {
  readonly #parts: AcceptanceParts;
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
    const { reserve, worktrees } = this.#parts;
    const { spec, script } = request;
    this.#parts.policy.check({ ...spec, text_sha256: textDigest(spec, script) }, spec.exec_id);
    if (spec.artifacts) parseGlobs(spec.artifacts);
    reserve.check();
    if (!spec.worktree) return this.#admit(request, digest);
    checkInside(spec.cwd);
    const id = spec.exec_id;
    const held = await worktrees.hold(id, spec.worktree);
    try {
      const state = await this.#admit(request, digest, held);
      worktrees.accepted(id);
      return state;
    } catch (error) {
      // What an id that is taken has is another exec's.
      if (!isConflict(error)) await worktrees.abandon(id, held);
      throw error;
    }
  }

  /** `held`: the worktree that it will run in. */
  async #admit(request: StartRequest, digest: string, held?: WorktreeState): Promise<ExecState> {
    const { execs, launcher, backlog } = this.#parts;
    const { spec, script, stdin } = request;
    const id = spec.exec_id;
    const folder = new ExecFolder(execs, id);
    const lies = script && { path: folder.file('script'), now: script.path };
    const foreseen = held ? await launcher.foresee(spec, lies, held.path) : await launcher.plan(spec, lies);
    const waits = backlog.resolve(spec);
    const stored = this.#storedSpec(spec, waits, digest, foreseen, held);
    const admission = backlog.admit(id, waits);
    if (admission.kind === 'open' || admission.kind === 'full') return backlog.accept(stored, request);
    if (admission.kind === 'failed') {
      const cause = { why: 'dependency_failed', detail: admission.detail };
      return this.#acceptEnded(folder, stored, (found, nowMs) => notStarted(found, nowMs, cause));
    }
    try {
      const plan = foreseen.kind !== 'foreseen' ? foreseen : await this.#planInWorktree(spec, lies, held);
      if (plan.kind === 'failed')
        return await this.#acceptEnded(folder, stored, (found, nowMs) =>
          failedToStart(found, nowMs, plan.exitCode, plan.why),
        );
      return await launcher.launch({
        folder,
        spec: stored,
        plan,
        hasScript: script !== undefined,
        scriptPath: script?.path,
        stdin: stdin && { path: stdin.path, unlink: true },
      });
    } catch (error) {
      backlog.withdraw(id);
      throw error;
    }
  }

  /** Its worktree is made first. */
  async #planInWorktree(
    spec: ExecSpec,
    script: PlannedScript | undefined,
    held: WorktreeState | undefined,
  ): Promise<Plan> {
    const { worktrees, launcher } = this.#parts;
    if (spec.worktree) await worktrees.make(spec.exec_id, spec.worktree);
    return launcher.plan(spec, script, held?.path);
  }

  /** Accepted like any other, so that its id is taken and its end is reported. */
  async #acceptEnded(
    folder: ExecFolder,
    spec: StoredSpec,
    verdict: (found: FolderSnapshot, nowMs: number) => ExecEnded,
  ): Promise<ExecState> {
    const { supply, gate, entries, machine } = this.#parts;
    const staged = await supply.takeFolder();
    let state: ExecEnded;
    try {
      await gate.enter(staged.path, staged.journal, folder, spec);
      state = verdict(folder.snapshot(), machine.clock.wall());
      failpoint('agent.end.before');
      writeLine(staged.journal, { end: state });
      failpoint('agent.end.after');
    } catch (error) {
      rmSync(staged.path, { recursive: true, force: true });
      if (!isConflict(error)) removeQuietly(folder);
      throw asRefusal(error);
    } finally {
      closeSync(staged.journal);
    }
    entries.add({ folder, state, supervisor: undefined, acknowledged: false });
    entries.changed(state);
    return state;
  }

  #storedSpec(
    spec: ExecSpec,
    waits: Waits,
    digest: string,
    plan: Plan | Foreseen,
    worktree?: WorktreeState,
  ): StoredSpec {
    const { hostId, bootId, clock } = this.#parts.machine;
    const { cwd, warnings } = plan;
    return {
      version: 1,
      exec_id: spec.exec_id,
      digest,
      mark: randomBytes(16).toString('hex'),
      host_id: hostId,
      boot_id: bootId,
      command: commandLine(spec),
      cwd,
      env_names: Object.keys(spec.env),
      merge: spec.merge,
      mode: spec.mode,
      ...(spec.label !== undefined && { label: spec.label }),
      ...(spec.session !== undefined && { session: spec.session }),
      ...(spec.caller_cwd !== undefined && { caller_cwd: spec.caller_cwd.slice(0, maxPathCharacters) }),
      ...(spec.timeout_ms !== undefined && { timeout_ms: spec.timeout_ms }),
      ...(spec.grace_ms !== undefined && { grace_ms: spec.grace_ms }),
      ...(spec.log_limit_bytes !== undefined && { log_limit_bytes: spec.log_limit_bytes }),
      ...(spec.log_limit_action !== undefined && { log_limit_action: spec.log_limit_action }),
      ...(spec.ephemeral && { ephemeral: true }),
      ...(spec.artifacts && { artifacts: spec.artifacts }),
      ...(waits.queue !== undefined && { queue: waits.queue }),
      ...(waits.after && { after: [...waits.after] }),
      ...(waits.after_any && { after_any: [...waits.after_any] }),
      ...(worktree && { worktree }),
      accepted_ms: clock.wall(),
      warnings: [...warnings],
    };
  }
}

/** A relative directory is one of the worktree. Throws `usage`. */
function checkInside(cwd: string | undefined): void {
  if (cwd === undefined || !/^\.\.(?:\/|$)/.test(normalize(cwd))) return;
  throw new RemoteError('usage', `the directory ${cwd} leads out of the worktree`, {
    hint: 'name it from the root of the repository, or as an absolute path',
    facts: { field: 'cwd' },
  });
}

/** What a policy can name a shell text by. */
function textDigest({ command }: ExecSpec, script: Spooled | undefined): string | undefined {
  return command.kind === 'cmd' ? hash('sha256', command.cmd, 'hex') : script?.sha256;
}
