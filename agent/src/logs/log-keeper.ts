import { closeSync, constants, fstatSync } from 'node:fs';
import { failpoint } from '@codex-remote/platform';
import type { LogLimitAction } from '@codex-remote/protocol/wire';
import type { ExecFolder } from '../folder/folder.ts';
import type { LogName } from '../folder/released.ts';
import type { HolePuncher } from './hole-puncher.ts';
import { openLog } from './log-file.ts';

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
}

const blockBytes = 4096;
/** So much of a limit goes at once: a log at its limit is not punched for every line. */
const stepPart = 8;
/** The record of what was released is made when a log has come this far, while there is most likely room for it. */
const preparedPart = 2;

const names: readonly LogName[] = ['stdout', 'stderr'];

/** Keeps the logs of one exec within their limit: the oldest bytes are noted as released, on disk, and then go. */
export class LogKeeper {
  readonly #kept: KeptLogs;
  readonly #puncher: HolePuncher;
  /** Noted as released by an earlier agent, which may have ended before the bytes went. */
  readonly #unsure = new Set<LogName>();
  #looking: Promise<void> | undefined;
  #exceeded = false;
  #closed = false;

  constructor(kept: KeptLogs, puncher: HolePuncher) {
    this.#kept = kept;
    this.#puncher = puncher;
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
  close(): void {
    this.#closed = true;
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
      return;
    }
    if (this.#closed) return;
    // Not what another has put in its place.
    closeSync(this.#open(name));
    const bytes = before - (before % blockBytes);
    failpoint('agent.released.before');
    await folder.released.note(name, bytes);
    failpoint('agent.released.after');
    if (!(await this.#punch(name))) this.#unsure.add(name);
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
