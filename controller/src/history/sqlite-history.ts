import { chmodSync } from 'node:fs';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { crc32 } from 'node:zlib';
import { failpoint } from '@codex-remote/platform';
import { type ExecReport, type ExecState, execState, isEnded } from '@codex-remote/protocol/schema';
import type { Clock, Timer } from '@codex-remote/protocol/wire';
import type { History, HistoryEntry, HistoryFilter } from './history.ts';
import { StateDamage } from './state-damage.ts';
import { WalSync } from './wal-sync.ts';

const schema = `
  CREATE TABLE IF NOT EXISTS exec (
    machine TEXT NOT NULL,
    exec_id TEXT NOT NULL,
    status TEXT NOT NULL,
    ended INTEGER NOT NULL,
    accepted_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    label TEXT,
    session TEXT,
    state TEXT NOT NULL,
    stdout_from INTEGER, stdout_tail BLOB,
    stderr_from INTEGER, stderr_tail BLOB,
    as_of TEXT NOT NULL,
    sum INTEGER,
    PRIMARY KEY (exec_id, machine)
  ) WITHOUT ROWID, STRICT;
  CREATE INDEX IF NOT EXISTS exec_recent ON exec (ended, accepted_ms DESC);
`;

const upsert = `
  INSERT INTO exec (machine, exec_id, status, ended, accepted_ms, ended_ms, label, session, state, stdout_from, stdout_tail, stderr_from, stderr_tail, as_of, sum)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (exec_id, machine) DO UPDATE SET
    status = excluded.status, ended = excluded.ended, ended_ms = excluded.ended_ms, label = excluded.label, session = excluded.session,
    state = excluded.state, stdout_from = excluded.stdout_from, stdout_tail = excluded.stdout_tail,
    stderr_from = excluded.stderr_from, stderr_tail = excluded.stderr_tail, as_of = excluded.as_of, sum = excluded.sum
  WHERE exec.ended = 0 OR excluded.ended = 1
`;

/** Its value is a JSON array of names. */
const ofMachines = 'machine IN (SELECT value FROM json_each(?))';

interface Pending {
  readonly machine: string;
  readonly report: ExecReport;
}

/** Up to this size a history is checked as a whole when it is opened, in a few milliseconds. */
const checkedBytes = 4 * 1024 * 1024;

/** Reports wait so long for company: a short exec is reported more than once. Nothing is promised before the commit is on disk. */
const flushMs = 25;

/**
 * The embedded history: SQLite in WAL mode. With `synchronous = NORMAL` a commit is in the log but not yet on the disk, so
 * that it does not hold up everything else in this process; `record` resolves when the log has been synced behind it (an
 * acknowledged end is the agent's leave to forget). SQLite itself syncs the log before it moves it into the database
 * (https://sqlite.org/pragma.html#pragma_synchronous: WAL mode is always consistent with NORMAL).
 */
export class SqliteHistory implements History {
  readonly #db: DatabaseSync;
  readonly #damage: StateDamage;
  readonly #clock: Clock;
  readonly #upsert: StatementSync;
  readonly #get: StatementSync;
  /** Absent for a database in memory. */
  readonly #wal: WalSync | undefined;
  /** The last report of each exec that is not committed yet, by id and machine. */
  readonly #pending = new Map<string, Pending>();
  #flush: { readonly done: Promise<void>; readonly timer: Timer } | undefined;

  /** Throws `state_unusable` for a file that is no history, or is damaged. */
  constructor(path: string, clock: Clock) {
    this.#clock = clock;
    this.#damage = new StateDamage(path);
    this.#db = this.#damage.told(() => new DatabaseSync(path));
    try {
      this.#damage.told(() => this.#check());
      [this.#upsert, this.#get] = this.#damage.told(() => prepare(this.#db));
      if (path !== ':memory:') chmodSync(path, 0o600);
      this.#wal = path === ':memory:' ? undefined : new WalSync(`${path}-wal`);
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  record(machine: string, reports: readonly ExecReport[]): Promise<void> {
    for (const report of reports) {
      const key = keyOf(machine, report.state.exec_id);
      const before = this.#pending.get(key);
      // An end is final: a late report of the exec running does not replace it.
      if (before && isEnded(before.report.state) && !isEnded(report.state)) continue;
      this.#pending.set(key, { machine, report: this.#withTails(machine, report) });
    }
    this.#flush ??= this.#flushSoon();
    return this.#flush.done;
  }

  get(machine: string, execId: string): HistoryEntry | undefined {
    const row = this.#damage.told(() => this.#get.get(execId, machine));
    const stored = row && this.#entryOf(row);
    const pending = this.#pending.get(keyOf(machine, execId));
    if (!pending) return stored;
    if (stored && isEnded(stored.report.state) && !isEnded(pending.report.state)) return stored;
    return { ...pending, as_of: new Date(this.#clock.wall()).toISOString() };
  }

  find(idOrPrefix: string, machines: readonly string[] | undefined, limit: number): HistoryEntry[] {
    const [machine] = machines ?? [];
    if (machine !== undefined && machines?.length === 1) {
      const exact = this.get(machine, idOrPrefix);
      if (exact) return [exact];
    }
    this.#write();
    const where = machines === undefined ? '' : ` AND ${ofMachines}`;
    const machineArg = machines === undefined ? [] : [JSON.stringify(machines)];
    const exact = this.#all(`exec_id = ?${where} LIMIT ?`, [idOrPrefix, ...machineArg, limit]);
    if (exact.length > 0) return exact;
    // Ids are ASCII: the prefix with U+FFFF behind it is above everything that begins with it.
    const range = `exec_id >= ? AND exec_id < ?${where} ORDER BY exec_id LIMIT ?`;
    return this.#all(range, [idOrPrefix, `${idOrPrefix}\uffff`, ...machineArg, limit]);
  }

  list(filter: HistoryFilter): { entries: HistoryEntry[]; total: number } {
    this.#write();
    const conditions: string[] = [];
    const values: SQLInputValue[] = [];
    const add = (condition: string, value: SQLInputValue | undefined): void => {
      if (value === undefined) return;
      conditions.push(condition);
      values.push(value);
    };
    add('machine = ?', filter.machine);
    add(ofMachines, filter.machines && JSON.stringify(filter.machines));
    if (filter.status !== undefined) {
      conditions.push(`status IN (${filter.status.map(() => '?').join(', ')})`);
      values.push(...filter.status);
    }
    add('label = ?', filter.label);
    add('session = ?', filter.session);
    add('accepted_ms >= ?', filter.since_ms);
    add('accepted_ms < ?', filter.until_ms);
    if (filter.since_ms === undefined) add('(ended = 0 OR ended_ms >= ?)', filter.ended_after_ms);
    const where = conditions.length > 0 ? conditions.join(' AND ') : 'TRUE';
    const counted = this.#damage.told(() =>
      this.#db.prepare(`SELECT count(*) AS n FROM exec WHERE ${where}`).get(...values),
    );
    const order = `${where} ORDER BY ended, accepted_ms DESC, exec_id DESC LIMIT ?`;
    return { entries: this.#all(order, [...values, filter.limit]), total: Number(counted?.n ?? 0) };
  }

  forgetMachine(machine: string): void {
    this.#write();
    this.#db.prepare('DELETE FROM exec WHERE machine = ?').run(machine);
  }

  close(): void {
    this.#flush?.timer.cancel();
    this.#write();
    this.#wal?.close();
    this.#db.close();
  }

  /** Who has read no tails takes none away from what was kept of an end. */
  #withTails(machine: string, report: ExecReport): ExecReport {
    if (!isEnded(report.state) || report.stdout_tail || report.stderr_tail) return report;
    const kept = this.get(machine, report.state.exec_id)?.report;
    return kept && isEnded(kept.state) ? { ...kept, state: report.state } : report;
  }

  /** A page that is missing can look like rows that were never there. */
  #check(): void {
    const pages = Number(this.#db.prepare('PRAGMA page_count').get()?.page_count);
    const pageBytes = Number(this.#db.prepare('PRAGMA page_size').get()?.page_size);
    if (pages * pageBytes > checkedBytes) return;
    const said = this.#db.prepare('PRAGMA integrity_check(1)').get()?.integrity_check;
    if (said !== 'ok') this.#damage.found('it is damaged');
  }

  /** `what` follows WHERE. */
  #all(what: string, values: readonly SQLInputValue[]): HistoryEntry[] {
    const rows = this.#damage.told(() => this.#db.prepare(`SELECT * FROM exec WHERE ${what}`).all(...values));
    return rows.map((row) => this.#entryOf(row));
  }

  /** Throws `state_unusable` for a row that has changed since it was written. */
  #entryOf(row: Record<string, unknown>): HistoryEntry {
    const entry = isWhole(row) ? entryOf(row) : undefined;
    return entry ?? this.#damage.found(`what it has of exec ${String(row.exec_id).slice(0, 64)} has changed`);
  }

  #flushSoon(): { done: Promise<void>; timer: Timer } {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = this.#clock.setTimer(flushMs, () => {
      this.#flush = undefined;
      try {
        this.#write();
      } catch (error) {
        reject(error);
        return;
      }
      if (this.#wal) this.#wal.sync().then(resolve, reject);
      else resolve();
    });
    return { done: promise, timer };
  }

  /** Commits what waits. What could not be committed waits on: the next reader or report tries again. */
  #write(): void {
    if (this.#pending.size === 0) return;
    const asOf = new Date(this.#clock.wall()).toISOString();
    failpoint('controller.history.before');
    this.#damage.told(() => {
      this.#db.exec('BEGIN IMMEDIATE');
      try {
        for (const { machine, report } of this.#pending.values()) {
          const values = rowOf(machine, report, asOf);
          this.#upsert.run(...values, sumOf(values));
        }
        this.#db.exec('COMMIT');
      } catch (error) {
        // Some errors of the disk have rolled back already.
        if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
        throw error;
      }
    });
    failpoint('controller.history.after');
    this.#pending.clear();
  }
}

function prepare(db: DatabaseSync): [StatementSync, StatementSync] {
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 2000;');
  db.exec('PRAGMA cell_size_check = ON;');
  db.exec(schema);
  // Of a controller that wrote no sums.
  const columns = db.prepare('PRAGMA table_info(exec)').all();
  if (!columns.some(({ name }) => name === 'sum')) db.exec('ALTER TABLE exec ADD COLUMN sum INTEGER');
  return [db.prepare(upsert), db.prepare('SELECT * FROM exec WHERE exec_id = ? AND machine = ?')];
}

function keyOf(machine: string, execId: string): string {
  return `${execId}/${machine}`;
}

function rowOf(machine: string, report: ExecReport, asOf: string): SQLInputValue[] {
  const { state, stdout_tail, stderr_tail } = report;
  const endedAt = isEnded(state) ? (timeOf(state.ended_at ?? asOf) ?? null) : null;
  return [
    machine,
    state.exec_id,
    state.status,
    isEnded(state) ? 1 : 0,
    timeOf(state.accepted_at) ?? timeOf(asOf) ?? 0,
    endedAt,
    state.label ?? null,
    state.session ?? null,
    JSON.stringify(state),
    stdout_tail?.from ?? null,
    stdout_tail?.bytes ?? null,
    stderr_tail?.from ?? null,
    stderr_tail?.bytes ?? null,
    asOf,
  ];
}

/** One report that cannot be written would hold up those of every other machine. */
function timeOf(text: string): number | undefined {
  const ms = Date.parse(text);
  return Number.isFinite(ms) ? ms : undefined;
}

/** The columns in the order of `rowOf`. */
const summed = [
  ...['machine', 'exec_id', 'status', 'ended', 'accepted_ms', 'ended_ms', 'label', 'session', 'state'],
  ...['stdout_from', 'stdout_tail', 'stderr_from', 'stderr_tail', 'as_of'],
];

/** SQLite checks the shape of its pages and not what is in them. */
function sumOf(values: readonly unknown[]): number {
  const text = values.map((value) => (value instanceof Uint8Array ? crc32(value) : value));
  return crc32(JSON.stringify(text));
}

function isWhole(row: Record<string, unknown>): boolean {
  return row.sum === null || row.sum === sumOf(summed.map((name) => row[name]));
}

/** Undefined for what is no row of ours. */
function entryOf(row: Record<string, unknown>): HistoryEntry | undefined {
  const state = stateOf(String(row.state));
  if (!state) return undefined;
  const tail = (from: unknown, bytes: unknown) =>
    typeof from === 'number' && bytes instanceof Uint8Array ? { from, bytes } : undefined;
  return {
    machine: String(row.machine),
    as_of: String(row.as_of),
    report: {
      state,
      stdout_tail: tail(row.stdout_from, row.stdout_tail),
      stderr_tail: tail(row.stderr_from, row.stderr_tail),
    },
  };
}

function stateOf(text: string): ExecState | undefined {
  try {
    return execState.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
