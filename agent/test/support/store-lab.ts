import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execMarkName, ProcessTable } from '@codex-remote/platform';
import type { ExecEnded, ExecSpec, ExecState } from '@codex-remote/protocol/schema';
import type { Spooled } from '../../src/exec/spool.ts';
import { ExecStore, type ExecStoreOptions, type StartResult } from '../../src/exec/store.ts';
import { readJournal } from '../../src/folder/journal.ts';

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
    for (const id of readdirSync(execs)) {
      const journal = readJournal(join(execs, id, 'journal'));
      const mark = journal?.spec?.mark;
      if (mark) for (const stat of this.table.marked(execMarkName, mark)) kill(stat.pid);
      const shim = journal?.identity?.shim;
      if (shim && this.table.isAlive(shim))
        for (const stat of this.table.sessionMembers(shim.pid)) kill(stat.pid);
    }
    rmSync(this.home, { recursive: true, force: true });
  }
}

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
