import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** A file system that does not answer holds a child no longer than this. */
const childMs = 60_000;
const probeBytes = 64 * 1024;

/**
 * Gives the disk of a file's beginning back and leaves every offset as it is: `fallocate -p` of util-linux, in a child,
 * because no call of Node does it and a large hole takes a while. The owner closes it.
 */
export class HolePuncher {
  readonly #tool: string | undefined;
  readonly #dir: string;
  readonly #children = new Set<ChildProcess>();
  #possible: Promise<boolean> | undefined;
  #closed = false;

  /** `tool`: absent where the system has none. `dir`: a folder of ours on the disk of the logs. */
  constructor(tool: string | undefined, dir: string) {
    this.#tool = tool;
    this.#dir = dir;
  }

  /** Whether the system has the program and the disk's file system can do it. Tried once, on a file of its own. */
  possible(): Promise<boolean> {
    this.#possible ??= this.#probe();
    return this.#possible;
  }

  /** Gives the first `bytes` of the file back, which is open for writing. False when that failed, or is not over in time. */
  punch(fd: number, bytes: number): Promise<boolean> {
    const tool = this.#tool;
    if (tool === undefined || this.#closed) return Promise.resolve(false);
    return new Promise((resolve) => {
      // By its descriptor: whatever has come to be at the log's path is not touched.
      const child = spawn(tool, ['-p', '-o', '0', '-l', String(bytes), '/proc/self/fd/3'], {
        cwd: '/',
        env: {},
        stdio: ['ignore', 'ignore', 'ignore', fd],
        timeout: childMs,
        killSignal: 'SIGKILL',
      });
      this.#children.add(child);
      const over = (done: boolean): void => {
        this.#children.delete(child);
        resolve(done);
      };
      child.once('error', () => over(false));
      child.once('exit', (code) => over(code === 0));
    });
  }

  /** Ends what is under way. Idempotent. */
  close(): void {
    this.#closed = true;
    for (const child of this.#children) child.kill('SIGKILL');
  }

  async #probe(): Promise<boolean> {
    const path = join(this.#dir, 'punch-probe');
    try {
      const fd = openSync(path, 'w', 0o600);
      try {
        writeSync(fd, Buffer.alloc(probeBytes, 1));
        fsyncSync(fd);
        return await this.punch(fd, probeBytes);
      } finally {
        closeSync(fd);
        rmSync(path, { force: true });
      }
    } catch {
      // No room for it now: asked again at the next need.
      this.#possible = undefined;
      return false;
    }
  }
}
