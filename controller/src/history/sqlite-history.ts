import { chmodSync } from 'node:fs';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { failpoint } from '@codex-remote/platform';
import { type ExecReport, execState, isEnded } from '@codex-remote/protocol/schema';
import type { Clock, Timer } from '@codex-remote/protocol/wire';
import type { History, HistoryEntry, HistoryFilter } from './history.ts';
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
    PRIMARY KEY (exec_id, machine)
  ) WITHOUT ROWID, STRICT;
  CREATE INDEX IF NOT EXISTS exec_recent ON exec (ended, accepted_ms DESC);
`;

const upsert = `
  INSERT INTO exec (machine, exec_id, status, ended, accepted_ms, ended_ms, label, session, state, stdout_from, stdout_tail, stderr_from, stderr_tail, as_of)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (exec_id, machine) DO UPDATE SET
    status = excluded.status, ended = excluded.ended, ended_ms = excluded.ended_ms, label = excluded.label, session = excluded.session,
    state = excluded.state, stdout_from = excluded.stdout_from, stdout_tail = excluded.stdout_tail,
    stderr_from = excluded.stderr_from, stderr_tail = excluded.stderr_tail, as_of = excluded.as_of
  WHERE exec.ended = 0 OR excluded.ended = 1
`;

interface Pending {
  readonly machine: string;
  readonly report: ExecReport;
}

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
  readonly #clock: Clock;
  readonly #upsert: StatementSync;
  readonly #get: StatementSync;
  /** Absent for a database in memory. */
  readonly #wal: WalSync | undefined;
  /** The last report of each exec that is not committed yet, by id and machine. */
  readonly #pending = new Map<string, Pending>();
  #flush: { readonly done: Promise<void>; readonly timer: Timer } | undefined;

  constructor(path: string, clock: Clock) {
    this.#db = new DatabaseSync(path);
    if (path !== ':memory:') chmodSync(path, 0o600);
    this.#clock = clock;
    this.#db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 2000;');
    this.#db.exec(schema);
    this.#wal = path === ':memory:' ? undefined : new WalSync(`${path}-wal`);
    this.#upsert = this.#db.prepare(upsert);
    this.#get = this.#db.prepare('SELECT * FROM exec WHERE exec_id = ? AND machine = ?');
  }

  record(machine: string, reports: readonly ExecReport[]): Promise<void> {
    for (const report of reports) {
      const key = keyOf(machine, report.state.exec_id);
      const before = this.#pending.get(key);
      // An end is final: a late report of the exec running does not replace it.
      if (before && isEnded(before.report.state) && !isEnded(report.state)) continue;
      this.#pending.set(key, { machine, report });
    }
    this.#flush ??= this.#flushSoon();
    return this.#flush.done;
  }

  get(machine: string, execId: string): HistoryEntry | undefined {
    const row = this.#get.get(execId, machine);
    const stored = row && entryOf(row);
    const pending = this.#pending.get(keyOf(machine, execId));
    if (!pending) return stored;
    if (stored && isEnded(stored.report.state) && !isEnded(pending.report.state)) return stored;
    return { ...pending, as_of: new Date(this.#clock.wall()).toISOString() };
  }

  find(idOrPrefix: string, machine: string | undefined, limit: number): HistoryEntry[] {
    if (machine !== undefined) {
      const exact = this.get(machine, idOrPrefix);
      if (exact) return [exact];
    }
    this.#write();
    const where = machine === undefined ? '' : ' AND machine = ?';
    const machineArg = machine === undefined ? [] : [machine];
    const exact = this.#db
      .prepare(`SELECT * FROM exec WHERE exec_id = ?${where} LIMIT ?`)
      .all(idOrPrefix, ...machineArg, limit);
    if (exact.length > 0) return exact.map(entryOf);
    // Ids are ASCII: the prefix with U+FFFF behind it is above everything that begins with it.
    return this.#db
      .prepare(`SELECT * FROM exec WHERE exec_id >= ? AND exec_id < ?${where} ORDER BY exec_id LIMIT ?`)
      .all(idOrPrefix, `${idOrPrefix}\uffff`, ...machineArg, limit)
      .map(entryOf);
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
    if (filter.status !== undefined) {
      conditions.push(`status IN (${filter.status.map(() => '?').join(', ')})`);
      values.push(...filter.status);
    }
    add('label = ?', filter.label);
    add('session = ?', filter.session);
    add('accepted_ms >= ?', filter.since_ms);
    add('accepted_ms < ?', filter.until_ms);
    if (filter.since_ms === undefined) add('(ended = 0 OR ended_ms >= ?)', filter.ended_after_ms);
    const where = conditions.length > 0 ? `WHERE ${conditions.join(' AND ')}` : '';
    const total = Number(this.#db.prepare(`SELECT count(*) AS n FROM exec ${where}`).get(...values)?.n ?? 0);
    const rows = this.#db
      .prepare(`SELECT * FROM exec ${where} ORDER BY ended, accepted_ms DESC, exec_id DESC LIMIT ?`)
      .all(...values, filter.limit);
    return { entries: rows.map(entryOf), total };
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
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      for (const { machine, report } of this.#pending.values())
        this.#upsert.run(...rowOf(machine, report, asOf));
      this.#db.exec('COMMIT');
    } catch (error) {
      this.#db.exec('ROLLBACK');
      throw error;
    }
    failpoint('controller.history.after');
    this.#pending.clear();
  }
}

function keyOf(machine: string, execId: string): string {
  return `${execId}/${machine}`;
}

function rowOf(machine: string, report: ExecReport, asOf: string): SQLInputValue[] {
  const { state, stdout_tail, stderr_tail } = report;
  const endedAt = isEnded(state) ? Date.parse(state.ended_at ?? asOf) : null;
  return [
    machine,
    state.exec_id,
    state.status,
    isEnded(state) ? 1 : 0,
    Date.parse(state.accepted_at),
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

function entryOf(row: Record<string, unknown>): HistoryEntry {
  const tail = (from: unknown, bytes: unknown) =>
    typeof from === 'number' && bytes instanceof Uint8Array ? { from, bytes } : undefined;
  return {
    machine: String(row.machine),
    as_of: String(row.as_of),
    report: {
      state: execState.parse(JSON.parse(String(row.state))),
      stdout_tail: tail(row.stdout_from, row.stdout_tail),
      stderr_tail: tail(row.stderr_from, row.stderr_tail),
    },
  };
}
