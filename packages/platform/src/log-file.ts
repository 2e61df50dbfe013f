import { closeSync, constants, fstatSync, openSync, renameSync, writeSync } from 'node:fs';
import { type Logger, pino } from 'pino';

/** One log file and its predecessor `<path>.1` are kept, each of at most this many bytes. */
export const maxLogFileBytes = 8 * 1024 * 1024;

/**
 * An append-only file that makes room by itself. Writes are synchronous: a line that was logged before a crash is there
 * after it. A full disk loses log lines, never the process.
 */
export class RotatingFile {
  readonly #path: string;
  readonly #maxBytes: number;
  #fd: number;
  #bytes: number;

  constructor(path: string, maxBytes: number = maxLogFileBytes) {
    this.#path = path;
    this.#maxBytes = maxBytes;
    this.#fd = this.#open();
    this.#bytes = fstatSync(this.#fd).size;
  }

  write(line: string): void {
    try {
      if (this.#bytes > this.#maxBytes) this.#rotate();
      this.#bytes += writeSync(this.#fd, line);
    } catch {
      // ENOSPC and its like: there is nowhere left to say so.
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #rotate(): void {
    renameSync(this.#path, `${this.#path}.1`);
    closeSync(this.#fd);
    this.#fd = this.#open();
    this.#bytes = 0;
  }

  #open(): number {
    return openSync(
      this.#path,
      constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW,
      0o600,
    );
  }
}

/** A JSON logger (pino, no transports) on `file`. The caller keeps and closes the file. */
export function createLogger(file: RotatingFile, level: string = 'info'): Logger {
  return pino({ level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime }, file);
}

export type { Logger } from 'pino';
