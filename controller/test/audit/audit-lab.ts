import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@codex-remote/platform';
import { AuditLog } from '../../src/audit/audit-log.ts';
import type { AuditEntry } from '../../src/audit/entry.ts';
import { SqliteHeadStore } from '../../src/audit/head-store.ts';
import { type AuditSettings, defaultAuditSettings } from '../../src/audit/settings.ts';

/** A log in a folder of its own, which can be closed, changed behind its back, and opened again. */
export class AuditLab {
  readonly root = mkdtempSync(join(tmpdir(), 'cr-audit-'));
  readonly dir = join(this.root, 'audit');
  log: AuditLog;
  /** The second place, as the log of now has it. */
  heads!: SqliteHeadStore;
  readonly #settings: AuditSettings;
  #open = true;

  constructor(settings: Partial<AuditSettings> = {}) {
    this.#settings = { ...defaultAuditSettings, ...settings };
    this.log = this.#make();
  }

  async reopen(change: () => void = () => undefined): Promise<void> {
    await this.stop();
    change();
    this.log = this.#make();
    this.#open = true;
  }

  async stop(): Promise<void> {
    if (this.#open) await this.log.close();
    this.#open = false;
  }

  files(): string[] {
    return readdirSync(this.dir)
      .filter((name) => name.endsWith('.jsonl'))
      .sort();
  }

  read(name = this.files().at(-1) as string): Buffer {
    return readFileSync(join(this.dir, name));
  }

  write(bytes: Uint8Array | string, name = this.files().at(-1) as string): void {
    writeFileSync(join(this.dir, name), bytes);
  }

  async close(): Promise<void> {
    await this.stop();
    rmSync(this.root, { recursive: true });
  }

  #make(): AuditLog {
    this.heads = new SqliteHeadStore(join(this.root, 'history.sqlite'));
    return new AuditLog({
      dir: this.dir,
      clock: systemClock,
      heads: this.heads,
      settings: this.#settings,
    });
  }
}

export function started(exec_id: string, more: Partial<AuditEntry> = {}): AuditEntry {
  return {
    principal: 'uid:1000',
    source: 'unix',
    verb: 'exec.start',
    machine: 'box',
    exec_id,
    argv: ['make', 'test'],
    result: 'requested',
    ...more,
  };
}
