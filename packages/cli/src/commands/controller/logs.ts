import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { oneLine } from '@codex-remote/client';
import { RemoteError } from '@codex-remote/protocol/wire';
import { command } from '../../table/command.ts';
import { one } from '../../table/flag.ts';
import * as read from '../../table/values.ts';

const defaultLines = 100;
/** Looked at from the end of the file; older lines are in the file itself. */
const maxBytes = 4 * 1024 * 1024;

export const controllerLogs = command({
  name: 'controller logs',
  ownHost: true,
  summary: "Show the end of the controller's own log, also when it does not run.",
  flags: { 'tail-lines': one(read.count, 'N', 'the last N lines (default 100)', { aliases: ['tail'] }) },
  examples: [['the last 20 lines', 'controller logs --tail 20']],
  async run(values, { paths, output }) {
    const lines = lastLines(paths.log, values['tail-lines'] ?? defaultLines);
    if (output.mode === 'human') return { exit: 0, human: () => lines.map(oneLine).join('\n') };
    if (output.mode === 'raw') await output.write(lines.map((line) => `${line}\n`).join(''));
    else for (const line of lines) await output.line(asRecord(line));
    return { exit: 0, human: () => '' };
  },
});

/** A line of the log is JSON; one that was cut by a crash is shown as it is. */
function asRecord(line: string): object {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === 'object' && value !== null) return { type: 'log', ...value };
  } catch {
    // Not whole: below.
  }
  return { type: 'log', line };
}

function lastLines(path: string, count: number): string[] {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    throw new RemoteError(
      'state_unusable',
      `there is no controller log to read at ${path} (${(error as NodeJS.ErrnoException).code})`,
      { hint: 'codex-remote controller start makes one' },
      error,
    );
  }
  try {
    const { size } = statSync(path);
    const begin = Math.max(0, size - maxBytes);
    const bytes = Buffer.alloc(size - begin);
    const length = readSync(fd, bytes, 0, bytes.byteLength, begin);
    const lines = bytes
      .toString('utf8', 0, length)
      .split('\n')
      .filter((line) => line !== '');
    return count === 0 ? [] : lines.slice(-count);
  } finally {
    closeSync(fd);
  }
}
