import { createHmac, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { failpoint, writeDurableSync } from '@codex-remote/platform';
import type { ExecSpec } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';

const keyBytes = 32;

/**
 * The agent's own key for digests: without it, a digest on disk or in a history could be tried against guesses of a
 * secret in `--env`. Made at the first call. Throws `state_unusable`.
 */
export function digestKey(path: string): Buffer {
  try {
    const key = readFileSync(path);
    if (key.byteLength === keyBytes) return key;
    throw new RemoteError('state_unusable', `${path} is not a digest key`, {
      hint: `put a backup there, or remove it: ids that exist then answer \`conflict\` when they are sent again`,
    });
  } catch (error) {
    if (error instanceof RemoteError || !isMissing(error)) {
      throw error instanceof RemoteError
        ? error
        : new RemoteError('state_unusable', `the digest key ${path} cannot be read`, {}, error);
    }
  }
  const key = randomBytes(keyBytes);
  failpoint('agent.digest_key.before');
  writeDurableSync(path, key);
  failpoint('agent.digest_key.after');
  return key;
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

/** Hashes of what came beside the spec. */
export interface BodyHashes {
  readonly script?: string;
  readonly stdin?: string;
}

/**
 * What makes two requests of one id the same: command, shell, cwd, env, script, stdin. Of a
 * worktree: project, commit, workspace. Not label, timeouts, output.
 */
export function requestDigest(key: Uint8Array, spec: ExecSpec, hashes: BodyHashes): string {
  const env = Object.entries(spec.env).sort(([a], [b]) => (a < b ? -1 : 1));
  const command = spec.command;
  const what =
    command.kind === 'cmd'
      ? ['cmd', command.cmd, command.shell ?? null]
      : command.kind === 'argv'
        ? ['argv', command.argv]
        : ['script', hashes.script ?? null, command.shell ?? null];
  const stdin = spec.stdin ? (hashes.stdin ?? null) : null;
  const { project, commit, workspace } = spec.worktree ?? {};
  // At the end and only where there is one: what was accepted before there were worktrees keeps its digest.
  const worktree = spec.worktree ? [[project, commit, workspace ?? null]] : [];
  const request = JSON.stringify([what, spec.cwd ?? null, env, stdin, ...worktree]);
  return createHmac('sha256', key).update(request).digest('hex');
}
