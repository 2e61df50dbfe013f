import { closeSync, constants, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

export interface Lock {
  /** Frees the lock. Idempotent. */
  release(): void;
}

/** SQLITE_BUSY (sqlite.org/rescode.html): another process holds it. */
const busy = 5;

/**
 * The exclusive lock on `path`, or undefined where another process holds it. It is an open exclusive transaction of
 * SQLite, in truth a lock of the kernel on the file: free the moment its process is gone, however it went, which a pid
 * file never is. The file holds nothing and stays.
 */
export function tryLock(path: string): Lock | undefined {
  // SQLite would create it by the umask.
  closeSync(openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600));
  const database = new DatabaseSync(path);
  try {
    database.exec('PRAGMA busy_timeout = 0; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE;');
  } catch (error) {
    database.close();
    if ((error as { errcode?: number }).errcode === busy) return undefined;
    throw error;
  }
  let held = true;
  return {
    release() {
      if (held) database.close();
      held = false;
    },
  };
}
