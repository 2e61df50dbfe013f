import { failpoint } from '@codex-remote/platform';
import type { ExecEnded } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { DiskReserve } from '../exec/disk-reserve.ts';
import type { Entries } from '../exec/entries.ts';
import { failedToStart, type NotStarted, notStarted } from '../exec/judge.ts';
import type { Launcher } from '../exec/launcher.ts';
import type { Machine } from '../exec/machine.ts';
import { ExecFolder, type FolderSnapshot } from '../folder/folder.ts';
import type { QueuedFolder } from '../folder/queued-folder.ts';
import type { JournalLine } from '../folder/stored.ts';
import type { Worktrees } from '../git/worktrees.ts';
import { asRefusal } from '../shim/shim-factory.ts';
import type { Waiter } from './waiter.ts';

/** How an exec ends that was not started. */
export type Verdict = (found: FolderSnapshot, nowMs: number) => ExecEnded;

export function verdictOf(cause: NotStarted): Verdict {
  return (found, nowMs) => notStarted(found, nowMs, cause);
}

export interface DeparturesOptions {
  readonly execs: string;
  readonly machine: Machine;
  readonly reserve: DiskReserve;
  readonly launcher: Launcher;
  readonly worktrees: Worktrees;
  readonly entries: Entries;
  /** False once nothing more is to be started. */
  readonly open: () => boolean;
}

/** The two ways out of `queued/`: a start, or an end without one. */
export class Departures {
  readonly #options: DeparturesOptions;

  constructor(options: DeparturesOptions) {
    this.#options = options;
  }

  /** Undefined when it runs, else how it ends. */
  async start(waiter: Waiter): Promise<Verdict | undefined> {
    const { execs, machine, reserve, launcher, worktrees, open } = this.#options;
    const folder = new ExecFolder(execs, waiter.folder.id);
    try {
      reserve.check();
      const request = waiter.folder.request();
      if (!request) throw new RemoteError('state_unusable', 'what it was to run cannot be read any more');
      const hasScript = request.command.kind === 'script';
      const script = hasScript
        ? { path: folder.file('script'), now: waiter.folder.file('script') }
        : undefined;
      if (request.worktree) await worktrees.make(waiter.folder.id, request.worktree, waiter.stop.signal);
      const plan = await launcher.plan(request, script, waiter.spec.worktree?.path);
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
            if (waiter.cancel || !open()) throw new RemoteError('cancelled', 'it is not to start');
          },
          leave: (place) => {
            failpoint('agent.leave.before');
            waiter.folder.handOver(place);
            failpoint('agent.leave.after');
          },
        },
      });
      return undefined;
    } catch (error) {
      const { code, message } = asRefusal(error);
      return verdictOf({ why: code, detail: message });
    }
  }

  /** On disk when it resolves. Throws `disk_low`, `state_unusable`: then the exec waits as before. */
  async end(waiter: Waiter, verdict: Verdict): Promise<void> {
    const { execs, machine, entries } = this.#options;
    const { clock, table } = machine;
    const { folder } = waiter;
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
      this.settle(folder, state, false);
    }
  }

  /** An ended exec moves to where the ended are, and is told of. */
  settle(folder: QueuedFolder, state: ExecEnded, acknowledged: boolean): void {
    const { execs, entries } = this.#options;
    const place = new ExecFolder(execs, folder.id);
    entries.add({
      folder: folder.moveTo(place) ? place : folder,
      state,
      supervisor: undefined,
      acknowledged,
    });
    entries.changed(state);
  }
}
