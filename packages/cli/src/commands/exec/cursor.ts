import type { Positions } from '@codex-remote/client';
import { RemoteError } from '@codex-remote/protocol/wire';

/** A place in the logs of one exec, for `--cursor`. Opaque to users. */
export function encodeCursor({ stdout, stderr }: Positions, execId: string): string {
  return `v1.${stdout}.${stderr}.${execId}`;
}

/** Throws `usage` for what is no cursor, or one of another exec. */
export function decodeCursor(cursor: string, execId: string): Positions {
  const [, stdout, stderr, id] = /^v1\.(\d{1,15})\.(\d{1,15})\.(.+)$/.exec(cursor) ?? [];
  if (id === undefined)
    throw new RemoteError('usage', '--cursor takes the next_cursor of an earlier answer', { sent: 'no' });
  if (!id.startsWith(execId))
    throw new RemoteError('usage', `the cursor is one of another exec, ${id.slice(0, 64)}`, { sent: 'no' });
  return { stdout: Number(stdout), stderr: Number(stderr) };
}
