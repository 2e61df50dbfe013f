import { closeSync, constants, copyFileSync, lstatSync, open, rmSync, type Stats, writeSync } from 'node:fs';
import { open as openHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isMissing, readStateFile, unreadable } from '@codex-remote/platform';
import { appendLine, foldJournal, glanceAtJournal, type Journal, type JournalGlance } from './journal.ts';
import { type ExitRecord, parseRecord, recordBytes } from './record.ts';
import { Released } from './released.ts';
import type { JournalLine } from './stored.ts';

/** Everything the folder of one exec says, at one moment. */
export interface FolderSnapshot {
  readonly id: string;
  /** Absent when the file is gone. */
  readonly journal?: Journal;
  /** Absent when the file is gone. */
  readonly record?: ExitRecord;
  readonly recordModifiedMs?: number;
  /** It lies among the queued: nothing of it has run. Absent for every other folder. */
  readonly queued?: { readonly startable: boolean };
  /** What the shells of the shim said. */
  readonly shimText: string;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  /** Of the oldest bytes, where any are gone. */
  readonly dropped?: Dropped;
}

/** As fields of a state. */
export interface Dropped {
  readonly stdout_dropped_bytes?: number;
  readonly stderr_dropped_bytes?: number;
}

/**
 * The folder `execs/<id>`, the truth about one exec. All files 0600:
 *
 *   journal   lines of JSON by the agent: spec, identity, cancel, end …
 *   exit      the shim's record
 *   shim      what its shells said
 *   stdout stderr times script
 *   released  how many of the oldest bytes of the logs are gone
 *   journal.bad exit.bad   copies of what was damaged when it was found
 *
 * What is missing is told as missing. What cannot be read now throws `state_unusable` or `fds_exhausted`: nobody may take
 * the one for the other and call an exec lost.
 */
export class ExecFolder {
  readonly id: string;
  readonly path: string;
  #released: Released | undefined;

  readonly #bytes = { stdout: 0, stderr: 0 };

  constructor(execs: string, id: string) {
    this.id = id;
    this.path = join(execs, id);
  }

  /** One for all who read and all who release: what the one notes the others know. */
  get released(): Released {
    this.#released ??= new Released(this.file('released'));
    return this.#released;
  }

  file(name: string): string {
    return join(this.path, name);
  }

  snapshot(): FolderSnapshot {
    const journal = this.journal();
    const record = this.record();
    const recordModifiedMs = this.#stat('exit')?.mtimeMs;
    return {
      id: this.id,
      ...(journal && { journal }),
      ...(record && { record }),
      ...(recordModifiedMs !== undefined && { recordModifiedMs }),
      shimText: this.shimText(),
      stdoutBytes: this.bytes('stdout'),
      stderrBytes: this.bytes('stderr'),
      dropped: this.dropped(),
    };
  }

  dropped(): Dropped {
    const [stdout, stderr] = [this.released.of('stdout'), this.released.of('stderr')];
    return {
      ...(stdout > 0 && { stdout_dropped_bytes: stdout }),
      ...(stderr > 0 && { stderr_dropped_bytes: stderr }),
    };
  }

  journal(): Journal | undefined {
    const text = this.#read('journal');
    return text === undefined ? undefined : foldJournal(text);
  }

  /** Undefined where the journal has no verdict, or must be looked at closely. */
  glance(): JournalGlance | undefined {
    const text = this.#read('journal');
    return text === undefined ? undefined : glanceAtJournal(text);
  }

  /**
   * Leaves it where nothing can be written, as on a full disk: what is noted here is known to this agent, and the next one
   * judges again, or is told again.
   */
  note(line: JournalLine): void {
    try {
      appendLine(this.file('journal'), line);
    } catch {
      // Refusing a cancel or an end would help nobody.
    }
  }

  /** Resolves when what was noted is on disk, or cannot be. */
  async settle(): Promise<void> {
    const file = await openHandle(this.file('journal'), constants.O_RDONLY).catch(() => undefined);
    try {
      await file?.datasync();
    } catch {
      // As with `note`.
    } finally {
      await file?.close();
    }
  }

  record(): ExitRecord | undefined {
    const text = this.#read('exit');
    return text === undefined ? undefined : parseRecord(text);
  }

  shimText(): string {
    return this.#read('shim') ?? '';
  }

  /** Never less than what was seen before: a log that is removed or cut does not begin again. */
  bytes(stream: 'stdout' | 'stderr'): number {
    this.#bytes[stream] = Math.max(this.#bytes[stream], this.#stat(stream)?.size ?? 0);
    return this.#bytes[stream];
  }

  /** When the last output was written, in epoch milliseconds; undefined when there is none. */
  lastOutputMs(): number | undefined {
    const stats = [this.#stat('stdout'), this.#stat('stderr')];
    const times = stats.flatMap((stat) => (stat && stat.size > 0 ? [stat.mtimeMs] : []));
    return times.length > 0 ? Math.max(...times) : undefined;
  }

  /** Keeps a damaged file as it was found, once; false when that was done before or there is no room for it. */
  keepBad(name: 'journal' | 'exit'): boolean {
    try {
      copyFileSync(this.file(name), this.file(`${name}.bad`), constants.COPYFILE_EXCL);
      return true;
    } catch {
      return false;
    }
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }

  #read(name: string): string | undefined {
    return readStateFile(this.file(name));
  }

  /** Of a regular file: what was put in the place of a log has a size of its own, which is not the log's. */
  #stat(name: string): Stats | undefined {
    const path = this.file(name);
    try {
      const stat = lstatSync(path);
      return stat.isFile() ? stat : undefined;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw unreadable(path, error);
    }
  }
}

/** Descriptors of the files of a new exec. Who has them closes them all. */
export interface FolderFiles {
  readonly journal: number;
  readonly record: number;
  readonly stdout: number;
  readonly stderr: number;
  readonly shim: number;
}

/**
 * Makes the files of a new exec in `path`. Rejects with what the system said, with nothing left open. Not on the main
 * thread: where many inodes were freed lately, ext4 takes half a millisecond for each new one.
 */
export async function createFiles(path: string): Promise<FolderFiles> {
  const names = ['journal', 'exit', 'stdout', 'stderr', 'shim'] as const;
  const opened = await Promise.allSettled(
    names.map((name) => openFile(join(path, name), name === 'exit' ? 'wx' : 'ax', 0o600)),
  );
  const [journal, record, stdout, stderr, shim] = opened.map((result) =>
    result.status === 'fulfilled' ? result.value : undefined,
  );
  try {
    if (!journal || !record || !stdout || !stderr || !shim) throw firstReason(opened);
    // At a position, so that the shim's writing begins at the start.
    writeSync(record, emptyRecord, 0, recordBytes, 0);
    return { journal, record, stdout, stderr, shim };
  } catch (error) {
    for (const fd of [journal, record, stdout, stderr, shim]) if (fd !== undefined) closeSync(fd);
    throw error;
  }
}

/** A plain descriptor, unlike that of `fs/promises`: it is handed to a child and closed by hand. */
const openFile = promisify(open);

function firstReason(results: readonly PromiseSettledResult<number>[]): unknown {
  return results.find((result) => result.status === 'rejected')?.reason;
}

const emptyRecord = Buffer.alloc(recordBytes, '\n');
