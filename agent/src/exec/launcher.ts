import { closeSync, constants, openSync, readSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { failpoint } from '@codex-remote/platform';
import type { ExecSpec, ExecState } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { EnvironmentSource } from '../environment/source.ts';
import type { ExecFolder } from '../folder/folder.ts';
import { writeLine } from '../folder/journal.ts';
import type { StoredIdentity, StoredSpec } from '../folder/stored.ts';
import { jobEnvironment, splitUncarried } from '../shim/job-env.ts';
import { asRefusal } from '../shim/shim-factory.ts';
import type { ShimSupply } from '../shim/shim-supply.ts';
import { checkArgsFit, directoryOf, resolveCommand, systemArgsLimit } from './command.ts';
import type { Gate } from './gate.ts';
import type { Machine } from './machine.ts';
import type { StartedExec } from './supervisor.ts';
import type { Watches } from './watches.ts';

/** What a request comes to on this machine, now. */
export type Plan = { readonly cwd: string; readonly warnings: readonly string[] } & (
  | { readonly kind: 'failed'; readonly exitCode: number; readonly why: string }
  | {
      readonly kind: 'job';
      readonly argv: readonly string[];
      /** As far as a shell carries it; the rest is in `argv`. */
      readonly env: Readonly<Record<string, string>>;
      readonly umask: number;
    }
);

/** What of a plan is known before there is the directory. */
export interface Foreseen extends Pick<Plan, 'cwd' | 'warnings'> {
  readonly kind: 'foreseen';
}

/** Where a script will lie, and where it is now. */
export interface PlannedScript {
  readonly path: string;
  readonly now: string;
}

/** What the start of an exec that waited for it has beside that of another. */
export interface Turn {
  /** Called right before the gate. Throws when it is not to start any more. */
  begin(): void;
  /** Called right before `go`, when the exec is in place and known: `folder` is the truth from here on. */
  leave(folder: ExecFolder): void;
}

export interface Launch {
  readonly folder: ExecFolder;
  readonly spec: StoredSpec;
  readonly plan: Plan & { readonly kind: 'job' };
  readonly hasScript: boolean;
  /** Where the script is moved from before the gate; one that waited is moved when its turn leaves. */
  readonly scriptPath?: string | undefined;
  readonly stdin?: { readonly path: string; readonly unlink: boolean } | undefined;
  readonly turn?: Turn;
}

export interface LauncherParts {
  readonly machine: Machine;
  readonly environment: EnvironmentSource;
  readonly gate: Gate;
  readonly supply: ShimSupply;
  readonly watches: Watches;
}

/** From a request to a job that runs: what a start at once and a start from a queue have in common. */
export class Launcher {
  readonly #parts: LauncherParts;
  readonly #argsLimit = systemArgsLimit();

  constructor(parts: LauncherParts) {
    this.#parts = parts;
  }

  /**
   * Looks up command and directory and says what would be executed. `script`: where it will lie, and where it is now.
   * `base`: its worktree. Throws `args_too_long`, and what the system says of a script that cannot be read.
   */
  async plan(spec: ExecSpec, script: PlannedScript | undefined, base?: string): Promise<Plan> {
    const { environment } = this.#parts;
    const login = await environment.current();
    const { user } = environment;
    const { warnings, umask } = login;
    const env = jobEnvironment(login.env, spec.env, user.home);
    const shell = login.env.SHELL ?? user.shell;
    const command = resolveCommand(spec, {
      env,
      home: user.home,
      base,
      shell,
      ...(script && { script: { path: script.path, head: readHead(script.now) } }),
    });
    if (command.kind === 'failed') return { ...command, warnings };
    const { carried, uncarried } = splitUncarried(env);
    const argv = uncarried.length > 0 ? ['/usr/bin/env', ...uncarried, ...command.argv] : command.argv;
    checkArgsFit(argv, env, this.#argsLimit);
    return { kind: 'job', argv, cwd: command.cwd, env: carried, umask, warnings };
  }

  /** As `plan`, of a worktree that is not made yet: what can be told before. Throws `args_too_long`. */
  async foresee(spec: ExecSpec, script: PlannedScript | undefined, base: string): Promise<Foreseen> {
    const { warnings } = await this.plan({ ...spec, cwd: undefined }, script);
    return {
      kind: 'foreseen',
      cwd: directoryOf(spec.cwd, this.#parts.environment.user.home, base),
      warnings,
    };
  }

  /**
   * Through the gate and off. Throws as the shim's factory and the gate do: nothing has run then, or will. A folder that
   * it put in place is gone again, unless the exec waited for this: such a one was accepted before.
   */
  async launch(launch: Launch): Promise<ExecState> {
    const { supply, gate, watches } = this.#parts;
    const { table, clock } = this.#parts.machine;
    const { folder, spec, plan, hasScript, scriptPath, stdin, turn } = launch;
    const job = { id: folder.id, mark: spec.mark, cwd: plan.cwd, argv: plan.argv };
    const { env, umask } = plan;
    const staged = await supply.take({ job, spec, env, umask, hasScript, ...(stdin && { stdin }) });
    let identity: StoredIdentity;
    try {
      turn?.begin();
      if (scriptPath !== undefined) renameSync(scriptPath, join(staged.path, 'script'));
      const entered = gate.enter(staged.path, staged.journal, folder, spec);
      entered.catch(() => undefined);
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
      turn?.leave(folder);
    } catch (error) {
      // The gate is shut for ever: nothing ran. A folder that was there already is another exec's.
      supply.discard(staged);
      if (!turn && !isConflict(error)) removeQuietly(folder);
      throw asRefusal(error);
    }
    staged.open(job);
    failpoint('agent.go.after');
    closeSync(staged.journal);
    supply.refill();
    return watches.watch(folder, startedExec(folder.id, spec, identity), { shim: staged.shim });
  }
}

/** What made the start fail can make this fail too: its cause is what is told. */
export function removeQuietly(folder: ExecFolder): void {
  try {
    folder.remove();
  } catch {
    // The next agent finds an exec that never started.
  }
}

export function isConflict(error: unknown): boolean {
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
