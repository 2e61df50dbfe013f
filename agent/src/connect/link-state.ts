import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { isErrorCode, RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';

/** `link.json`: how the daemon `pid` stands with its controller, since it last changed. Informs `agent join` alone. */
const linkState = z.object({
  pid: z.number().int(),
  connected: z.boolean(),
  /** Why the last attempt failed. */
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }).optional(),
});

export interface LinkState {
  readonly pid: number;
  readonly connected: boolean;
  readonly error?: RemoteError;
}

/** Neither durable nor needed: where it cannot be written it is left out. */
export function writeLinkState(path: string, connected: boolean, error?: RemoteError): void {
  const said = error && { code: error.code, message: error.message, hint: error.details.hint };
  try {
    writeFileSync(`${path}.new`, JSON.stringify({ pid: process.pid, connected, error: said }), {
      mode: 0o600,
    });
    renameSync(`${path}.new`, path);
  } catch {
    // A full disk, or a home that is being removed.
  }
}

/** Undefined where no daemon has said anything. */
export function readLinkState(path: string): LinkState | undefined {
  try {
    const { pid, connected, error } = linkState.parse(JSON.parse(readFileSync(path, 'utf8')));
    if (!error || !isErrorCode(error.code)) return { pid, connected };
    const details = error.hint === undefined ? {} : { hint: error.hint };
    return { pid, connected, error: new RemoteError(error.code, error.message, details) };
  } catch {
    return undefined;
  }
}
