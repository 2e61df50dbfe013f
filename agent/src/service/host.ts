import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { withoutJobMarks } from '@codex-remote/platform';

/** What a program of the system said. */
export interface Said {
  /** Undefined: there is no such program, or it did not end in time. */
  readonly status: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** The system that services are asked of; tests put programs of their own first into its PATH. */
export interface ServiceHost {
  readonly platform: NodeJS.Platform;
  readonly uid: number;
  readonly user: string;
  readonly home: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  run(argv: readonly [string, ...string[]], input?: string): Promise<Said>;
}

/** Longest that a service manager may take for an answer; stopping an agent takes it 10 s at most. */
const answerMs = 20_000;

export function thisHost(env: ServiceHost['env'] = process.env, platform = process.platform): ServiceHost {
  const { uid, username } = userInfo();
  const full = { ...withoutJobMarks(env), ...runtimeDir(env, uid), LC_ALL: 'C' };
  return {
    platform,
    uid,
    user: username,
    home: env.HOME || homedir(),
    env: full,
    run: ([program, ...args], input) => run(program, args, full, input),
  };
}

/** A command that SSH runs without pam_systemd(8) has no XDG_RUNTIME_DIR, and the user's manager is there all the same. */
function runtimeDir(env: ServiceHost['env'], uid: number): { XDG_RUNTIME_DIR?: string } {
  const usual = `/run/user/${uid}`;
  return env.XDG_RUNTIME_DIR || !existsSync(usual) ? {} : { XDG_RUNTIME_DIR: usual };
}

function run(
  program: string,
  args: readonly string[],
  env: ServiceHost['env'],
  input: string | undefined,
): Promise<Said> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { env, cwd: '/', stdio: 'pipe', timeout: answerMs });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    // A program that reads nothing of its stdin has said why by its status.
    child.stdin.on('error', () => undefined).end(input ?? '');
    const said = (status: number | null): void =>
      resolve({
        status: status ?? undefined,
        stdout: Buffer.concat(out).toString(),
        stderr: Buffer.concat(err).toString(),
      });
    child.once('error', () => said(null));
    child.once('close', (status) => said(status));
  });
}
