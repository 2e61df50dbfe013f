import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { type ExecEnded, isEnded } from '@codex-remote/protocol/schema';
import { type ExitRecord, parseRecord, recordBytes } from './record.ts';
import {
  type CancelIntent,
  cancelIntent,
  parseStored,
  type StoredIdentity,
  type StoredSpec,
  storedEnd,
  storedIdentity,
  storedSpec,
} from './stored.ts';

/** Everything the folder of one exec says, at one moment. */
export interface FolderSnapshot {
  readonly id: string;
  /** There is a folder and nothing in it: a crash right at the gate. */
  readonly empty: boolean;
  readonly spec?: StoredSpec;
  readonly identity?: StoredIdentity;
  /** Absent when the record file is gone. */
  readonly record?: ExitRecord;
  readonly recordModifiedMs?: number;
  /** What the shells of the shim said. */
  readonly shimText: string;
  readonly cancel?: CancelIntent;
  /** The shim was once seen dead while its job lived. */
  readonly orphaned: boolean;
  readonly end?: ExecEnded;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
}

/** The folder `execs/<id>`: the truth about one exec. Files are 0600 and small but for the two logs. */
export class ExecFolder {
  readonly id: string;
  readonly path: string;

  constructor(execs: string, id: string) {
    this.id = id;
    this.path = join(execs, id);
  }

  file(name: string): string {
    return join(this.path, name);
  }

  snapshot(): FolderSnapshot {
    const entries = this.#entries();
    const spec = parseStored(storedSpec, this.#read('spec.json'));
    const identity = parseStored(storedIdentity, this.#read('identity.json'));
    const record = this.record();
    const cancel = parseStored(cancelIntent, this.#read('cancel.json'));
    const end = this.end();
    const recordModifiedMs = this.#stat('exit')?.mtimeMs;
    return {
      id: this.id,
      empty: entries.length === 0,
      ...(spec && { spec }),
      ...(identity && { identity }),
      ...(record && { record }),
      ...(recordModifiedMs !== undefined && { recordModifiedMs }),
      shimText: this.shimText(),
      ...(cancel && { cancel }),
      orphaned: entries.includes('orphaned'),
      ...(end && { end }),
      stdoutBytes: this.bytes('stdout'),
      stderrBytes: this.bytes('stderr'),
    };
  }

  record(): ExitRecord | undefined {
    const text = this.#read('exit');
    return text === undefined ? undefined : parseRecord(text);
  }

  /** What the shells of the shim said. */
  shimText(): string {
    return this.#read('shim') ?? '';
  }

  end(): ExecEnded | undefined {
    const state = parseStored(storedEnd, this.#read('end.json'));
    return state && isEnded(state) ? state : undefined;
  }

  get acknowledged(): boolean {
    return this.#stat('acknowledged') !== undefined;
  }

  bytes(stream: 'stdout' | 'stderr'): number {
    return this.#stat(stream)?.size ?? 0;
  }

  /** When the last output was written, in epoch milliseconds; undefined when there is none. */
  lastOutputMs(): number | undefined {
    const stats = [this.#stat('stdout'), this.#stat('stderr')];
    const times = stats.flatMap((stat) => (stat && stat.size > 0 ? [stat.mtimeMs] : []));
    return times.length > 0 ? Math.max(...times) : undefined;
  }

  writeIdentity(identity: StoredIdentity): void {
    this.#write('identity.json', JSON.stringify(identity));
  }

  writeCancel(intent: CancelIntent): void {
    this.#write('cancel.json', JSON.stringify(intent));
  }

  removeCancel(): void {
    rmSync(this.file('cancel.json'), { force: true });
  }

  writeEnd(state: ExecEnded): void {
    this.#write('end.json', JSON.stringify(state));
  }

  markOrphaned(): void {
    this.#write('orphaned', '');
  }

  acknowledge(): void {
    this.#write('acknowledged', '');
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }

  #write(name: string, text: string): void {
    writeFileSync(this.file(name), text, { mode: 0o600 });
  }

  #entries(): string[] {
    try {
      return readdirSync(this.path);
    } catch {
      return [];
    }
  }

  #read(name: string): string | undefined {
    try {
      return readFileSync(this.file(name), 'utf8');
    } catch {
      return undefined;
    }
  }

  #stat(name: string): { size: number; mtimeMs: number } | undefined {
    return statSync(this.file(name), { throwIfNoEntry: false });
  }
}

/** Descriptors of the files that a shim writes. The caller closes them once the shim has its own. */
export interface FolderFiles {
  readonly record: number;
  readonly stdout: number;
  readonly stderr: number;
  readonly shim: number;
}

/** Makes the files of a new exec in `path`. Throws what the system said, with nothing left open. */
export function createFiles(path: string): FolderFiles {
  const opened: number[] = [];
  const open = (name: string, flags: string): number => {
    const fd = openSync(join(path, name), flags, 0o600);
    opened.push(fd);
    return fd;
  };
  try {
    const record = open('exit', 'wx');
    // At a position, so that the shim's writing begins at the start.
    writeSync(record, emptyRecord, 0, recordBytes, 0);
    return { record, stdout: open('stdout', 'ax'), stderr: open('stderr', 'ax'), shim: open('shim', 'ax') };
  } catch (error) {
    for (const fd of opened) closeSync(fd);
    throw error;
  }
}

const emptyRecord = Buffer.alloc(recordBytes, '\n');
