import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Readable, type Writable } from 'node:stream';
import { RemoteError } from '@codex-remote/protocol/wire';
import { commandLine, environment, type GitCall } from './call.ts';
import { feed, type GitInput } from './feed.ts';

/** Git to run: a path or a name that `PATH` of `env` leads to; what of `env` reaches it, `environment` says. */
export interface GitProgram {
  readonly path: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** What of stderr is kept: its last bytes. */
const maxStderrBytes = 4096;

export interface GitExit {
  /** Null when a signal ended it. */
  readonly code: number | null;
  /** The last 4 KiB. */
  readonly stderr: string;
}

/**
 * One running git, in a process group of its own and without a terminal: an interrupt at ours is for us. `signal` ends the
 * whole group by KILL, what `kill` does too. stdout is to be read by the caller, else it waits.
 */
export class GitProcess {
  readonly stdout: Readable;
  /** Never rejects. Who uses the output asks it whether that is whole. */
  readonly exit: Promise<GitExit>;
  readonly #child: ChildProcess;
  readonly #call: GitCall;

  /** `input` is taken at git's pace, and left when git ends before its end; its error ends git and is thrown by `done`. */
  constructor(program: GitProgram, call: GitCall, input?: GitInput, signal?: AbortSignal) {
    this.#call = call;
    // Loaded only here: who bundles this may never run it.
    const { spawn } = process.getBuiltinModule('node:child_process');
    const [path, args] = withUmask(call.umask, program.path, commandLine(call));
    const child = spawn(path, args, {
      cwd: call.cwd ?? '/',
      env: environment(call, program.env),
      stdio: [input ? 'pipe' : 'ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.#child = child;
    this.stdout = child.stdout ?? Readable.from([]);
    // At the end of a child Node throws away what nobody has begun to read; what is listened to it leaves.
    this.stdout.on('readable', () => undefined);
    const kill = () => this.kill();
    signal?.addEventListener('abort', kill, { once: true });
    if (signal?.aborted) this.kill();
    const stderr = tailOf(child.stderr);
    const fed = input && child.stdin ? this.#feed(input, child.stdin) : Promise.resolve(undefined);
    this.exit = this.#ended(stderr, fed).finally(() => signal?.removeEventListener('abort', kill));
    // Who asks for it hears of it.
    this.exit.catch(() => undefined);
  }

  kill(): void {
    const { pid, exitCode, signalCode } = this.#child;
    if (pid === undefined || exitCode !== null || signalCode !== null) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      this.#child.kill('SIGKILL');
    }
  }

  /** Resolves when git has ended well. Throws what its input threw, and `git_failed`. */
  async done(): Promise<void> {
    const exit = await this.exit;
    if (exit.code !== 0) throw gitFailed(this.#call, exit);
  }

  async #ended(stderr: Promise<string>, fed: Promise<unknown>): Promise<GitExit> {
    const child = this.#child;
    try {
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    } catch (error) {
      throw notStarted(error);
    }
    const failure = await fed;
    if (failure !== undefined) throw failure;
    return { code: child.exitCode, stderr: await stderr };
  }

  /** Resolves with what the input threw. */
  async #feed(input: GitInput, stdin: Writable): Promise<unknown> {
    try {
      await feed(input, stdin);
      return undefined;
    } catch (error) {
      this.kill();
      stdin.destroy();
      return error ?? new Error('the input failed');
    }
  }
}

/** Only a shell can set it for a child alone. */
function withUmask(
  umask: number | undefined,
  path: string,
  args: readonly string[],
): [string, readonly string[]] {
  if (umask === undefined) return [path, args];
  return ['/bin/sh', ['-c', 'umask "$0" && exec "$@"', umask.toString(8), path, ...args]];
}

/** An error for a run that did not end well. A full disk is told as one. */
export function gitFailed(call: GitCall, { code, stderr }: GitExit): RemoteError {
  const name = call.args[0] ?? '';
  const text = stderr.trim();
  if (/No space left on device|Disk quota exceeded/.test(stderr))
    return new RemoteError('disk_low', `git ${name}: there is not enough free disk`, {
      facts: { git_stderr: text },
    });
  const last = text.split('\n').at(-1) ?? '';
  const how = code === null ? 'was ended by a signal' : `failed with ${code}`;
  return new RemoteError('git_failed', `git ${name} ${how}${last === '' ? '' : `: ${last.slice(0, 300)}`}`, {
    facts: { git_stderr: text, ...(code !== null && { exit_code: code }) },
  });
}

function notStarted(error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code !== 'ENOENT' && code !== 'EACCES') return error;
  return new RemoteError(
    'git_missing',
    'git is not installed, or not where PATH leads',
    { hint: 'install git, or let PATH lead to it' },
    error,
  );
}

async function tailOf(stream: Readable | null): Promise<string> {
  let tail: Buffer<ArrayBufferLike> = Buffer.alloc(0);
  try {
    for await (const piece of stream ?? []) {
      tail = Buffer.concat([tail, piece]);
      if (tail.byteLength > 2 * maxStderrBytes) tail = tail.subarray(-maxStderrBytes);
    }
  } catch {
    // What there is of it must do.
  }
  return tail.subarray(-maxStderrBytes).toString('utf8');
}
