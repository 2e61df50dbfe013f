import { closeSync, openSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { RemoteError } from '@codex-remote/protocol/wire';

/** Held until `release` or the end of the process, however it ends. */
export interface Lock {
  /** Idempotent. */
  release(): void;
}

/** SQLITE_BUSY: https://www.sqlite.org/rescode.html#busy */
const sqliteBusy = 5;

/**
 * Takes the lock that the file `path` stands for: an exclusive SQLite transaction, so that the kernel frees it at once
 * when its holder dies (kill -9 too). The file stays; it says nothing. Not inherited by children.
 *
 * Throws `already_running` at once when another process holds it, `state_unusable` when the file cannot be used.
 */
export function takeLock(path: string): Lock {
  let database: DatabaseSync | undefined;
  try {
    // SQLite would create it with the umask's mode.
    closeSync(openSync(path, 'a', 0o600));
    // Loaded when it is needed: a command that finds its controller running does not pay for it.
    const sqlite = process.getBuiltinModule('node:sqlite');
    database = new sqlite.DatabaseSync(path, { timeout: 0 });
    // MEMORY: an exclusive transaction that never writes needs no journal file beside it.
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (error) {
    database?.close();
    if (isBusy(error)) {
      throw new RemoteError('already_running', `another process holds ${path}`, {}, error);
    }
    throw new RemoteError('state_unusable', `the lock file ${path} cannot be used`, {}, error);
  }
  const held = database;
  return {
    release() {
      if (held.isOpen) held.close();
    },
  };
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === sqliteBusy;
}
