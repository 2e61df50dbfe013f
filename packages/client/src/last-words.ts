import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { RemoteError } from '@codex-remote/protocol/wire';
import { isObject } from './shape.ts';

/** The end of the log is looked at: one line of a failed start, its stack included. */
const lookedAtBytes = 16 * 1024;
/** pino's level of `fatal`. */
const fatalLevel = 60;

/** Why a controller with this pid could not start, as it wrote to its log. Undefined when it said nothing. */
export function lastWords(log: string, pid: number | undefined): RemoteError | undefined {
  for (const line of endOf(log).split('\n').reverse()) {
    const entry = parse(line);
    if (entry?.level === fatalLevel && entry.pid === pid) return RemoteError.fromWire(entry.error);
  }
  return undefined;
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function endOf(path: string): string {
  try {
    const fd = openSync(path, 'r');
    try {
      const bytes = Buffer.alloc(lookedAtBytes);
      const from = Math.max(0, fstatSync(fd).size - lookedAtBytes);
      return bytes.toString('utf8', 0, readSync(fd, bytes, 0, lookedAtBytes, from));
    } finally {
      closeSync(fd);
    }
  } catch {
    return '';
  }
}
