import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execMarkName, type ProcessStat, ProcessTable } from '@codex-remote/platform';
import type { ExecEnded, ExecSpec, ExecState } from '@codex-remote/protocol/schema';
import { ExecFolder } from '../../src/folder/folder.ts';
import type { Spooled } from '../../src/store/spool.ts';
import { ExecStore, type ExecStoreOptions, type StartResult } from '../../src/store/store.ts';

/** A real store with real processes in a temporary home. `close` ends everything it started. */
export class StoreLab {
  readonly home: string;
  readonly table = new ProcessTable();
  store: ExecStore;
  readonly #options: Partial<ExecStoreOptions>;
  #count = 0;

  constructor(options: Partial<ExecStoreOptions> = {}) {
    this.home = mkdtempSync(join(tmpdir(), 'store-'));
    this.#options = options;
    this.store = this.open();
  }

  open(more: Partial<ExecStoreOptions> = {}): ExecStore {
    const user = { name: 'tester', home: this.home, shell: '/bin/sh' };
    return new ExecStore({
      home: this.home,
      user,
      spares: 1,
      diskReserveBytes: 0,
      ...this.#options,
      ...more,
    });
  }

  /** What a restart of the agent is to its execs. */
  reopen(more: Partial<ExecStoreOptions> = {}): ExecStore {
    this.store.close();
    this.store = this.open(more);
    return this.store;
  }

  spec(spec: Partial<ExecSpec>): ExecSpec {
    return {
      exec_id: `job-${this.#count++}`,
      command: { kind: 'cmd', cmd: 'true' },
      env: {},
      stdin: false,
      merge: false,
      mode: 'run',
      ...spec,
    };
  }

  async spool(text: string): Promise<Spooled> {
    const spool = await this.store.spool();
    await spool.write(Buffer.from(text));
    return spool.finish();
  }

  start(cmd: string, spec: Partial<ExecSpec> = {}): Promise<StartResult> {
    return this.store.start({ spec: this.spec({ command: { kind: 'cmd', cmd }, ...spec }) });
  }

  async run(cmd: string, spec: Partial<ExecSpec> = {}): Promise<Finished> {
    const { state } = await this.start(cmd, spec);
    return finished(await this.store.ended(state.exec_id));
  }

  read(id: string, name = 'stdout'): string {
    return readFileSync(join(this.home, 'execs', id, name), 'latin1');
  }

  /** Kills by pid whatever carries the mark of an exec of this home, and its shims; then removes the home. */
  close(): void {
    this.store.close();
    const execs = join(this.home, 'execs');
    const journals = readdirSync(execs).map((id) => {
      const folder = new ExecFolder(execs, id);
      try {
        return folder.journal();
      } catch {
        // A test has made it unreadable.
        return undefined;
      }
    });
    const shims = new Set(journals.flatMap((journal) => journal?.identity?.shim.pid ?? []));
    const marks = new Set(journals.flatMap((journal) => journal?.spec?.mark ?? []));
    const isOurs = (stat: ProcessStat) =>
      (shims.has(stat.session) || this.#carriesOne(stat.pid, marks)) && this.table.isAlive(stat);
    // Looked for together, since some tests start hundreds; again, since a shim that has just started is still forking.
    for (let looks = 0; looks < maxLooks; looks++) {
      const found = this.table.all().filter(isOurs);
      if (found.length === 0) break;
      for (const stat of found) kill(stat.pid);
    }
    rmSync(this.home, { recursive: true, force: true });
  }

  #carriesOne(pid: number, marks: ReadonlySet<string>): boolean {
    try {
      const environ = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
      const mark = environ.find((line) => line.startsWith(`${execMarkName}=`));
      return mark !== undefined && marks.has(mark.slice(execMarkName.length + 1));
    } catch {
      return false;
    }
  }
}

/** Far more than a shim has generations. */
const maxLooks = 100;

export type Finished = Extract<ExecState, { status: 'finished' }>;

export function finished(state: ExecEnded): Finished {
  if (state.status === 'finished') return state;
  throw new Error(`expected a finished exec, got ${JSON.stringify(state)}`);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}
