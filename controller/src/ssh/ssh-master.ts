import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Clock, RemoteError } from '@codex-remote/protocol/wire';
import type { Deadline } from './deadline.ts';
import type { HostKeyEvent } from './host-key-policy.ts';
import { childEnv, configWords, type SshEnvironment } from './openssh.ts';
import { TextTail } from './remote-text.ts';
import type { ResolvedHost } from './resolve.ts';

export interface SystemOptions {
  readonly clock: Clock;
  readonly environment: SshEnvironment;
  readonly acceptHostKey?: string;
  /** Hears of host keys that are refused or stored. */
  readonly onHostKey?: (event: HostKeyEvent) => void;
  /** For all hops together. */
  readonly timeoutMs?: number;
  /** Gives the attempt up, with `cancelled`. */
  readonly signal?: AbortSignal;
}

/** What of the user's configuration must not happen in a connection of ours, and what must. */
const fixedOptions = [
  'BatchMode=yes',
  'ControlPersist=no',
  'ClearAllForwardings=yes',
  'ForwardAgent=no',
  'ForwardX11=no',
  'RemoteCommand=none',
  'RequestTTY=no',
  'UpdateHostKeys=no',
  'ConnectionAttempts=1',
  'ServerAliveInterval=5',
  'ServerAliveCountMax=6',
  'LogLevel=INFO',
];

/** One `ssh -M` whose own session is a `cat`: it ends when we do, also by SIGKILL, because its stdin ends then. */
export class SshMaster {
  readonly child: ChildProcessWithoutNullStreams;
  ready = false;
  /** Killed because the deadline passed, or because the caller has gone. */
  late = false;
  cancelled: RemoteError | undefined;
  readonly #stderr = new TextTail();

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.child = child;
    child.stdin.on('error', () => undefined);
    child.stderr.on('data', (bytes: Buffer) => this.#stderr.add(bytes));
  }

  get stderr(): string {
    return this.#stderr.text();
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Returns when the session answers, or when ssh has ended or the deadline has passed; it has ended then. */
  static async start(
    host: ResolvedHost,
    dir: string,
    proxyCommand: string | undefined,
    deadline: Deadline,
    options: SystemOptions,
  ): Promise<SshMaster> {
    const { environment } = options;
    const words = [
      ...configWords(environment),
      '-M',
      '-S',
      join(dir, 'mux'),
      '-T',
      ...optionWords(host, dir, proxyCommand, deadline.remainingMs),
    ];
    const target = [
      ...(host.target.port === undefined ? [] : ['-p', String(host.target.port)]),
      ...(host.target.user === undefined ? [] : ['-l', host.target.user]),
    ];
    const child = spawn(
      environment.program ?? 'ssh',
      [...words, ...target, '--', host.target.host, 'exec cat'],
      { env: childEnv(environment), stdio: 'pipe' },
    );
    const master = new SshMaster(child);
    const mark = randomBytes(16).toString('hex');
    child.stdin.write(`${mark}\n`);
    await new Promise<void>((resolve) => {
      const limit = deadline.watch((cancelled) => {
        master.late = true;
        master.cancelled = cancelled;
        child.kill('SIGKILL');
      });
      // Noise of rc files stands before the echo.
      let seen = '';
      child.stdout.on('data', (bytes: Buffer) => {
        seen = (seen + bytes.toString('latin1')).slice(-64 * 1024);
        if (!seen.includes(mark)) return;
        master.ready = true;
        seen = '';
        child.stdout.removeAllListeners('data').resume();
        limit.cancel();
        resolve();
      });
      const ended = (): void => {
        limit.cancel();
        resolve();
      };
      child.once('close', ended);
      child.once('error', ended);
    });
    return master;
  }
}

function optionWords(
  host: ResolvedHost,
  dir: string,
  proxyCommand: string | undefined,
  remainingMs: number,
): string[] {
  const options = [
    ...fixedOptions,
    `ConnectTimeout=${Math.max(1, Math.floor(remainingMs / 1000))}`,
    'PermitLocalCommand=yes',
    `LocalCommand=touch ${dir}/authenticated`,
    // The user's own command stays in charge where there is one.
    ...(host.beyondUs.includes('knownhostscommand')
      ? []
      : [`KnownHostsCommand=/bin/sh ${dir}/record-key %I %t %K`]),
    // A new key may be taken then, a changed one not.
    ...(host.strictHostKeyChecking === 'no' ? ['StrictHostKeyChecking=accept-new'] : []),
    ...(proxyCommand === undefined ? [] : [`ProxyCommand=${proxyCommand}`]),
  ];
  return options.flatMap((option) => ['-o', option]);
}
