import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ProcessTable } from '@codex-remote/platform';
import { type ExitRecord, parseRecord, recordBytes } from '../../src/folder/record.ts';
import { findTools, type GatedShim, type JobStart, type ShimTools, spawnShim } from '../../src/shim/spawn.ts';
import { waitFor } from './wait-for.ts';

/** Shells that the shim must be right under. Missing ones are an error, not a skip. */
export const shells = ['dash', 'bash', 'bash as sh', 'busybox ash'] as const;
export type ShellName = (typeof shells)[number];

export interface LabOptions {
  merge?: boolean;
  env?: Record<string, string>;
  cwd?: string;
  /** Start as a spare and tell it with `take`. */
  spare?: boolean;
  /** Folder of the exec, when it must lie elsewhere. */
  folder?: string;
  stdin?: string;
}

/** Real shims in a temporary folder. `close` kills what they left and removes the folder. */
export class ShimLab {
  readonly dir = mkdtempSync(join(tmpdir(), 'shim-'));
  readonly tools: ShimTools;
  readonly table = new ProcessTable();
  readonly mark = `lab-${process.pid}-${Math.random().toString(36).slice(2)}`;
  readonly #shims: GatedShim[] = [];
  #count = 0;

  constructor(shell: ShellName) {
    this.tools = { ...findTools(), sh: this.#shell(shell) };
  }

  #shell(shell: ShellName): string {
    const [program = ''] = shell.split(' ');
    let path: string;
    try {
      path = execFileSync('sh', ['-c', 'command -v -- "$1"', 'sh', program], { encoding: 'utf8' }).trim();
    } catch (error) {
      const packaged = program === 'busybox' ? 'busybox' : program;
      throw new Error(`the shim's tests need ${program}: install the package "${packaged}"`, {
        cause: error,
      });
    }
    if (program === shell) return path;
    const link = join(this.dir, shell === 'busybox ash' ? 'ash' : 'sh');
    symlinkSync(path, link);
    return link;
  }

  async gated(argv: string[], options: LabOptions = {}): Promise<LabJob> {
    const folder = options.folder ?? join(this.dir, `exec-${this.#count++}`);
    mkdirSync(folder, { recursive: true });
    const open = (name: string, flags: string) => openSync(join(folder, name), flags, 0o600);
    const record = open('exit', 'wx');
    writeSync(record, '\n'.repeat(recordBytes), 0);
    const files = {
      stdin: openSync(options.stdin ?? '/dev/null', 'r'),
      shim: open('shim', 'ax'),
      record,
      stdout: open('stdout', 'ax'),
      stderr: open('stderr', 'ax'),
    };
    // A record is written from its start on, whatever the position of the fill was.
    const job: JobStart = { id: 'lab', mark: this.mark, cwd: options.cwd ?? this.dir, argv };
    const shim = await spawnShim({
      tools: this.tools,
      folder,
      files,
      env: options.env ?? { PATH: '/usr/bin:/bin' },
      umask: 0o022,
      merge: options.merge ?? false,
      ...(options.spare ? {} : { job }),
    });
    for (const fd of Object.values(files)) closeSync(fd);
    this.#shims.push(shim);
    return new LabJob(
      folder,
      shim,
      () => (options.spare ? shim.take(job) : shim.go()),
      options.merge ?? false,
    );
  }

  async run(argv: string[], options: LabOptions = {}): Promise<LabJob> {
    const job = await this.gated(argv, options);
    job.start();
    await job.drained();
    await job.shim.exited;
    return job;
  }

  close(): void {
    for (const shim of this.#shims) shim.abort();
    for (const found of this.table.marked('CODEX_REMOTE_EXEC_MARK', this.mark)) kill(found.pid);
    for (const shim of this.#shims) {
      for (const found of this.table.sessionMembers(shim.pid)) kill(found.pid);
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export class LabJob {
  readonly folder: string;
  readonly shim: GatedShim;
  readonly start: () => void;
  readonly #merge: boolean;

  constructor(folder: string, shim: GatedShim, start: () => void, merge: boolean) {
    this.folder = folder;
    this.shim = shim;
    this.start = start;
    this.#merge = merge;
  }

  record(): ExitRecord {
    return parseRecord(this.read('exit'));
  }

  read(name: string): string {
    return readFileSync(join(this.folder, name), 'latin1');
  }

  exit(): Promise<number> {
    return waitFor('the exit record', () => this.record().exitCode);
  }

  drained(): Promise<true> {
    return waitFor('the pumps to drain', () => this.record().eof.size === (this.#merge ? 1 : 2) || undefined);
  }

  async jobPid(): Promise<number> {
    return waitFor('the job record', () => this.record().job?.pid);
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}
