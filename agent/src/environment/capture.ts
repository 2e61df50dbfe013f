import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '@codex-remote/protocol/wire';
import { isRunnable, plainEnvironment, type User, usualUmask } from './login-environment.ts';

export interface CaptureOptions {
  readonly user: User;
  readonly clock: Clock;
  /** A private folder for the file that the dumper writes. */
  readonly dir: string;
  /** Absolute paths. */
  readonly tools: { readonly sh: string; readonly cat: string };
  readonly timeoutMs?: number;
}

/** What rc files may take. */
const captureMs = 10_000;

/** tcsh takes -l only alone; a shell that fails on the first is asked without it. */
const waysToAsk = [['-ilc'], ['-ic']];

/** A constant line for the user's shell, whatever it is: all of them expand variables in double quotes. */
const dumpLine = (sh: string): string => `exec ${sh} -c "$CODEX_REMOTE_ENV_DUMPER"`;

/** For sh. The environment is read as the kernel has it, since sh drops names that are no identifiers. */
const dumper = '{ umask; "$CODEX_REMOTE_ENV_CAT" "/proc/$$/environ"; } >"$CODEX_REMOTE_ENV_OUT"';

/**
 * The environment and umask that an interactive login shell of the user ends up with. The shell runs in its own session
 * with no input and no output; noise of rc files goes nowhere. Undefined when there is no answer in time; what it has
 * started by then is killed.
 */
export async function captureLogin(
  options: CaptureOptions,
): Promise<{ env: Record<string, string>; umask: number } | undefined> {
  const { user, clock, tools } = options;
  if (!isRunnable(user.shell)) return undefined;
  const until = clock.monotonic() + (options.timeoutMs ?? captureMs);
  const out = join(options.dir, `environment-${randomBytes(8).toString('hex')}`);
  closeSync(openSync(out, 'wx', 0o600));
  try {
    for (const way of waysToAsk) {
      const env = {
        ...plainEnvironment(user),
        CODEX_REMOTE_ENV_DUMPER: dumper,
        CODEX_REMOTE_ENV_OUT: out,
        CODEX_REMOTE_ENV_CAT: tools.cat,
      };
      const command = [user.shell, ...way, dumpLine(tools.sh)];
      await runShell(tools.sh, ['-c', underUsualUmask, ...command], { cwd: user.home, env }, clock, until);
      const captured = parseDump(readFileSync(out));
      if (captured) return captured;
    }
    return undefined;
  } finally {
    rmSync(out, { force: true });
  }
}

/** As a login begins: the agent's own mask is 077, and most rc files leave it alone. */
const underUsualUmask = `umask 0${usualUmask.toString(8)}; exec "$0" "$@"`;

async function runShell(
  shell: string,
  args: string[],
  options: { cwd: string; env: Record<string, string> },
  clock: Clock,
  until: number,
): Promise<void> {
  const child = spawn(shell, args, { ...options, detached: true, stdio: 'ignore' });
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = clock.setTimer(Math.max(0, until - clock.monotonic()), () => {
    // The child is not reaped yet, so its group is ours.
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  });
  child.once('exit', () => resolve());
  child.once('error', () => resolve());
  await promise;
  timer.cancel();
}

/** A line of umask, then NUL-terminated variables. Undefined for anything less. */
export function parseDump(bytes: Buffer): { env: Record<string, string>; umask: number } | undefined {
  const end = bytes.indexOf('\n');
  if (end < 0 || bytes.at(-1) !== 0) return undefined;
  const mask = bytes.toString('latin1', 0, end);
  if (!/^[0-7]{1,4}$/.test(mask)) return undefined;
  const env: Record<string, string> = {};
  for (const variable of bytes.toString('utf8', end + 1, bytes.length - 1).split('\0')) {
    const at = variable.indexOf('=');
    const name = variable.slice(0, at);
    if (at > 0 && !name.startsWith('CODEX_REMOTE_ENV_')) env[name] = variable.slice(at + 1);
  }
  return env.PATH === undefined ? undefined : { env, umask: Number.parseInt(mask, 8) };
}
