import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../../..');
export const cliProgram = join(root, 'node_modules/.bin/codex-remote');
/** The same from the build that has failpoints, for `CliOptions.env` with `CR_FP` and `CR_FP_HITS`. */
const failpointProgram = [
  process.execPath,
  '--',
  join(root, 'packages/cli/dist/failpoints/boot.cjs'),
] as const;

export interface CliResult {
  /** Exit status; undefined when a signal ended it. */
  readonly status: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface CliOptions {
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  /** The process is killed and the promise rejects: a test says what it was waiting for, not that it timed out. */
  readonly timeoutMs?: number;
}

/** One user of codex-remote: a home of its own, the real program, and whatever controller that starts. */
export class Cli {
  readonly home: string;
  readonly env: Record<string, string>;
  readonly #program: readonly [string, ...string[]];

  private constructor(
    home: string,
    env: Readonly<Record<string, string>>,
    program: readonly [string, ...string[]],
  ) {
    this.home = home;
    this.#program = program;
    this.env = {
      PATH: process.env.PATH ?? '',
      HOME: home,
      CODEX_REMOTE_HOME: home,
      CODEX_REMOTE_OUTPUT: 'json',
      LANG: 'C.UTF-8',
      // A test says itself when an agent that it ended returns, and this user's service manager is none of its business.
      CODEX_REMOTE_AGENT_SERVICE: 'bare',
      ...env,
    };
  }

  static async open(env: Readonly<Record<string, string>> = {}): Promise<Cli> {
    return new Cli(await mkdtemp(join(tmpdir(), 'crc-')), env, [cliProgram]);
  }

  /**
   * All programs of this user have failpoints. A daemon keeps the `CR_FP` of the command that started it: the controller
   * that of the CLI, the agent that of the controller.
   */
  static async withFailpoints(env: Readonly<Record<string, string>> = {}): Promise<Cli> {
    return new Cli(await mkdtemp(join(tmpdir(), 'crc-')), env, failpointProgram);
  }

  /** The same user with another release, or with words before it that say where it runs. It is closed by closing either. */
  using(program: readonly [string, ...string[]]): Cli {
    return new Cli(this.home, this.env, program);
  }

  spawn(args: readonly string[], options: CliOptions = {}): ChildProcessWithoutNullStreams {
    const [command, ...first] = this.#program;
    return spawn(command, [...first, ...args], { env: { ...this.env, ...options.env }, cwd: this.home });
  }

  /** Runs to its end, whatever the status. */
  run(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
    const child = this.spawn(args, options);
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
    return new Promise((resolve, reject) => {
      const timeoutMs = options.timeoutMs ?? 60_000;
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        reject(
          new Error(
            `codex-remote ${args.join(' ')} ran over ${timeoutMs} ms; stdout: ${Buffer.concat(stdout)}; stderr: ${Buffer.concat(stderr)}`,
          ),
        );
      }, timeoutMs);
      child.on('error', reject);
      child.on('close', (status, signal) => {
        clearTimeout(timer);
        resolve({
          status: status ?? undefined,
          signal: signal ?? undefined,
          stdout: Buffer.concat(stdout),
          stderr: Buffer.concat(stderr).toString(),
        });
      });
    });
  }

  /** The one JSON object that the command prints; `status` is what it must exit with. */
  async json(
    args: readonly string[],
    status: number = 0,
    options: CliOptions = {},
  ): Promise<Record<string, unknown>> {
    const result = await this.run(args, options);
    const text = result.stdout.toString();
    if (result.status !== status)
      throw new Error(
        `codex-remote ${args.join(' ')}: exit ${result.status}, not ${status}\n${text}\n${result.stderr}`,
      );
    return JSON.parse(text) as Record<string, unknown>;
  }

  /** The JSON lines that the command prints. */
  async lines(
    args: readonly string[],
    status: number = 0,
    options: CliOptions = {},
  ): Promise<Record<string, unknown>[]> {
    const result = await this.run(args, options);
    const text = result.stdout.toString();
    if (result.status !== status)
      throw new Error(
        `codex-remote ${args.join(' ')}: exit ${result.status}, not ${status}\n${text.slice(0, 4000)}\n${result.stderr}`,
      );
    return text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** Pid of the controller, when one runs. */
  async controllerPid(): Promise<number | undefined> {
    const status = await this.json(['controller', 'status']);
    return status.running ? Number(status.pid) : undefined;
  }

  /** Stops the machine `local` and the controller and removes the home. */
  async close(): Promise<void> {
    await this.run(['machine', 'down', 'local', '--purge']).catch(() => undefined);
    await this.run(['controller', 'stop']).catch(() => undefined);
    await rm(this.home, { recursive: true, force: true });
  }
}
