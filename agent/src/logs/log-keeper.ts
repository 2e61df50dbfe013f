import { closeSync, constants, fstatSync } from 'node:fs';
import { failpoint } from '@codex-remote/platform';
import type { LogLimitAction } from '@codex-remote/protocol/wire';
import type { ExecFolder } from '../folder/folder.ts';
import type { LogName } from '../folder/released.ts';
import type { HolePuncher } from './hole-puncher.ts';
import { openLog } from './log-file.ts';
import type { Pumps } from './pumps.ts';

export interface LogLimit {
  /** Of each stream. */
  readonly bytes: number;
  readonly action: LogLimitAction;
}

/** An exec whose logs can grow. */
export interface KeptLogs {
  readonly folder: ExecFolder;
  /** Of the files that were made for the exec, where they are known. */
  readonly inodes: { readonly stdout: number; readonly stderr: number } | undefined;
  readonly limit: LogLimit;
  /** A log is at its limit, and `cancel` is what is done then. Called once. */
  readonly exceeded: () => void;
  /** A log is at its limit and nothing can be given back: it goes on growing. */
  readonly unlimited: () => void;
  /** Absent where nothing is known of the shim. */
  readonly pumps: Pumps | undefined;
  /** A log that goes on growing waits for room on the disk. */
  readonly held: () => void;
}

/** Disk that logs beyond their limit leave free. */
export interface LogReserve {
  /** Bytes of it that are not free; negative: so many more are. */
  missing(): number;
}

const blockBytes = 4096;
/** So much of a limit goes at once: a log at its limit is not punched for every line. */
const stepPart = 8;
/** The record of what was released is made when a log has come this far, while there is most likely room for it. */
const preparedPart = 2;

/** A log that waits goes on when so much more than the reserve is free. */
const resumeBytes = 4 * 1024 * 1024;

const names: readonly LogName[] = ['stdout', 'stderr'];

/** Keeps the logs of one exec within their limit: the oldest bytes are noted as released, on disk, and then go. */
export class LogKeeper {
  readonly #kept: KeptLogs;
  readonly #puncher: HolePuncher;
  readonly #reserve: LogReserve;
  /** Noted as released by an earlier agent, which may have ended before the bytes went. */
  readonly #unsure = new Set<LogName>();
  #looking: Promise<void> | undefined;
  #exceeded = false;
  /** Logs that wait for room on the disk. */
  readonly #held = new Set<LogName>();
  /** An earlier agent may have left it waiting. */
  readonly #maybeHeld = new Set<LogName>(names);
  #exited = false;
  #closed = false;

  constructor(kept: KeptLogs, puncher: HolePuncher, reserve: LogReserve) {
    this.#kept = kept;
    this.#puncher = puncher;
    this.#reserve = reserve;
    for (const name of names) if (kept.folder.released.of(name) > 0) this.#unsure.add(name);
  }

  /** Looks how far the logs have come. One look is at work at a time: who comes meanwhile waits for that one. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  /** What is under way is left: it is noted, the next agent goes on. */
  /** What is left in the pipes when the command ends does not wait for room. */
  exited(): void {
    this.#exited = true;
    this.#resumeAll();
  }

  /** Nobody is left who could end the waiting. */
  close(): void {
    this.#closed = true;
    this.#resumeAll();
  }

  async #look(): Promise<void> {
    try {
      for (const name of names) if (!this.#closed) await this.#keep(name);
    } catch {
      // The log or the record cannot be used now: looked at again, and readers say what is wrong with it.
    }
  }

  async #keep(name: LogName): Promise<void> {
    const { folder, limit } = this.#kept;
    if (this.#unsure.has(name) && (await this.#punch(name))) this.#unsure.delete(name);
    const size = folder.bytes(name);
    const kept = size - folder.released.of(name);
    if (kept > limit.bytes / preparedPart) folder.released.prepare();
    if (limit.action === 'cancel' && kept > limit.bytes && !this.#exceeded) {
      this.#exceeded = true;
      this.#kept.exceeded();
    }
    // What is about to be ended keeps its beginning, unless it goes on and on.
    const most = limit.action === 'cancel' ? 2 * limit.bytes : limit.bytes;
    if (kept > most) await this.#release(name, size - (most - most / stepPart));
  }

  async #release(name: LogName, before: number): Promise<void> {
    const { folder, unlimited } = this.#kept;
    if (!(await this.#puncher.possible())) {
      unlimited();
      this.#leaveRoom(name);
      return;
    }
    if (this.#closed) return;
    // Not what another has put in its place.
    this.#withLog(name, () => undefined);
    const bytes = before - (before % blockBytes);
    failpoint('agent.released.before');
    await folder.released.note(name, bytes);
    failpoint('agent.released.after');
    if (!(await this.#punch(name))) this.#unsure.add(name);
  }

  #leaveRoom(name: LogName): void {
    const { pumps, held } = this.#kept;
    const missing = this.#reserve.missing();
    if (missing > 0 && !this.#exited && !this.#closed && pumps) {
      if (!this.#withLog(name, (log) => pumps.hold(log))) return;
      this.#held.add(name);
      this.#maybeHeld.add(name);
      held();
    } else if (missing <= -resumeBytes && this.#maybeHeld.has(name)) this.#resume(name);
  }

  #resumeAll(): void {
    for (const name of this.#held) {
      try {
        this.#resume(name);
      } catch {
        // The log was taken away: its pump has nothing left to wait for.
      }
    }
  }

  #resume(name: LogName): void {
    this.#maybeHeld.delete(name);
    this.#held.delete(name);
    this.#withLog(name, (log) => this.#kept.pumps?.resume(log));
  }

  #withLog<T>(name: LogName, use: (fd: number) => T): T {
    const fd = this.#open(name);
    try {
      return use(fd);
    } finally {
      closeSync(fd);
    }
  }

  async #punch(name: LogName): Promise<boolean> {
    if (this.#closed) return false;
    const fd = this.#open(name);
    try {
      const bytes = Math.min(this.#kept.folder.released.of(name), fstatSync(fd).size);
      failpoint('agent.punch.before');
      const done = await this.#puncher.punch(fd, bytes);
      failpoint('agent.punch.after');
      return done;
    } finally {
      closeSync(fd);
    }
  }

  #open(name: LogName): number {
    const { folder, inodes } = this.#kept;
    return openLog(folder.file(name), inodes?.[name], constants.O_WRONLY);
  }
}
