import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { homedir } from 'node:os';
import { RemoteError } from '@codex-remote/protocol/wire';
import type { HostTransport, RemoteExit, RemoteProcess } from './transport.ts';

/** This host as a machine: the same command lines, run by `/bin/sh` instead of a login shell behind SSH. */
export class LocalTransport implements HostTransport {
  readonly kind = 'local';
  readonly description = 'this host';
  readonly closed: Promise<RemoteError | undefined>;
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #running = new Set<ChildProcessWithoutNullStreams>();
  #settle: (cause: RemoteError | undefined) => void = () => undefined;

  constructor(env: Readonly<Record<string, string | undefined>>) {
    this.#env = env;
    this.closed = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  async exec(line: string): Promise<RemoteProcess> {
    const child = spawn('/bin/sh', ['-c', line], { env: this.#env, cwd: homedir(), stdio: 'pipe' });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (error) =>
        reject(
          new RemoteError(
            'bootstrap_failed',
            'no shell can be started on this host',
            { facts: { remote_stderr: error.message } },
            error,
          ),
        ),
      );
    });
    this.#running.add(child);
    void new Promise((resolve) => child.once('exit', resolve)).then(() => this.#running.delete(child));
    return new ChildProcess(child);
  }

  async ping(): Promise<void> {}

  async close(): Promise<void> {
    for (const child of this.#running) child.kill('SIGKILL');
    this.#settle(undefined);
  }
}

/** A program of this host's behind the interface of a remote one. */
export class ChildProcess implements RemoteProcess {
  readonly stdin: ChildProcessWithoutNullStreams['stdin'];
  readonly stdout: ChildProcessWithoutNullStreams['stdout'];
  readonly stderr: ChildProcessWithoutNullStreams['stderr'];
  readonly exited: Promise<RemoteExit>;
  readonly #child: ChildProcessWithoutNullStreams;

  /** Takes a started child over. */
  constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    this.stdin = child.stdin;
    this.stdout = child.stdout;
    this.stderr = child.stderr;
    // Writing to a program that has ended is reported by its exit, not by its pipe.
    child.stdin.on('error', () => undefined);
    this.exited = new Promise((resolve) => {
      child.once('close', (code, signal) =>
        resolve({ ...(code === null ? {} : { code }), ...(signal === null ? {} : { signal }) }),
      );
    });
  }

  kill(): void {
    this.#child.kill('SIGKILL');
    for (const stream of [this.stdin, this.stdout, this.stderr]) stream.destroy();
  }
}
