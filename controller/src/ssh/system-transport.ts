import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { RemoteError } from '@codex-remote/protocol/wire';
import { Deadline } from './deadline.ts';
import { type HostKey, readHostKey } from './host-key.ts';
import { HostKeyPolicy } from './host-key-policy.ts';
import { ChildProcess } from './local-transport.ts';
import { childEnv, type SshEnvironment } from './openssh.ts';
import { sanitise } from './remote-text.ts';
import type { ResolvedHost } from './resolve.ts';
import { SshMaster, type SystemOptions } from './ssh-master.ts';
import {
  connectMs,
  type Forwarding,
  type HostTransport,
  type RemoteExit,
  type RemoteProcess,
} from './transport.ts';
import { describeHost, forwardingRefused, unreachable } from './unreachable.ts';

/** Records the key that the server shows (`%I %t %K` of KnownHostsCommand), and vouches for one that the user accepted. */
const keyRecorder = `printf '%s %s\\n' "$1" "$3" >>"\${0%/*}/keys"
[ -f "\${0%/*}/accepted" ] && exec cat "\${0%/*}/accepted"
exit 0
`;

/**
 * Connects with the system's `ssh` as the master of a private control socket: certificates, security keys, ProxyCommand
 * and Kerberos work as for its user. `ssh` has one exit status for every failure, so the stages that it reached are read
 * from what it left: the key it was shown, and a file that its LocalCommand makes after the login.
 * Throws what `connectSsh2` throws.
 */
export async function connectSystem(host: ResolvedHost, options: SystemOptions): Promise<HostTransport> {
  const deadline = new Deadline(options.clock, options.timeoutMs ?? connectMs, options.signal);
  const hops: SystemTransport[] = [];
  try {
    for (const hop of [...host.jumps, host]) hops.push(await connectHop(hop, hops.at(-1), deadline, options));
  } catch (error) {
    for (const hop of hops.reverse()) await hop.close();
    throw error;
  }
  const transport = hops.pop();
  if (transport === undefined) throw new RemoteError('internal', 'a chain of hosts cannot be empty');
  transport.own(hops, describeHost(host));
  return transport;
}

async function connectHop(
  host: ResolvedHost,
  through: SystemTransport | undefined,
  deadline: Deadline,
  options: SystemOptions,
): Promise<SystemTransport> {
  const policy = await HostKeyPolicy.read(host, options.acceptHostKey, options.onHostKey);
  // Not os.tmpdir(): ssh adds 17 characters to the control path while it binds, and macOS has long temporary folders.
  const dir = await mkdtemp('/tmp/codex-remote-ssh-');
  try {
    await chmod(dir, 0o700);
    await writeFile(join(dir, 'record-key'), keyRecorder, { mode: 0o600 });
    let accepted: HostKey | undefined;
    for (;;) {
      const master = await SshMaster.start(host, dir, through?.proxyCommand, deadline, options);
      if (master.ready) {
        if (accepted !== undefined) await policy.store(accepted);
        return new SystemTransport(host, dir, master, options.environment);
      }
      const acceptable = await explain(host, dir, master, policy);
      if (accepted !== undefined) throw unreachable(host, 'host_key', 'ssh refuses a key that was accepted');
      accepted = acceptable;
      // The user accepts this key: the next attempt hears of it from us, and proves that the host has it.
      await writeFile(join(dir, 'accepted'), `* ${accepted.type} ${accepted.blob.toString('base64')}\n`, {
        mode: 0o600,
      });
      await rm(join(dir, 'keys'), { force: true });
    }
  } catch (error) {
    await rm(dir, { recursive: true, force: true });
    throw error;
  }
}

/** Throws what went wrong; returns the key of the host when that was only a key that the user accepts. */
async function explain(
  host: ResolvedHost,
  dir: string,
  master: SshMaster,
  policy: HostKeyPolicy,
): Promise<HostKey> {
  if (master.cancelled !== undefined) throw master.cancelled;
  const said = sanitise(master.stderr).slice(-500);
  const facts: Record<string, string> = said === '' ? {} : { ssh_said: said };
  const shown = await shownKey(dir);
  if (shown === undefined) {
    const what = master.late
      ? 'it gives no answer'
      : `ssh could not reach it${said === '' ? '' : ` (${said.split('\n').at(-1)})`}`;
    throw unreachable(host, master.late ? 'ETIMEDOUT' : 'ssh_failed', what).with({ facts });
  }
  const decision = policy.decide(shown);
  if (!decision.trusted) throw decision.error;
  if (decision.store && host.strictHostKeyChecking !== 'no' && host.strictHostKeyChecking !== 'accept-new') {
    if ((await readFile(join(dir, 'accepted'), 'utf8').catch(() => '')) === '') return shown;
  }
  if (!(await exists(join(dir, 'authenticated')))) {
    throw new RemoteError(
      'ssh_auth_failed',
      `${describeHost(host)} accepted no credential that ssh could use without asking`,
      {
        hint: `run \`ssh ${host.target.host}\` by hand; load the key it asks for with \`ssh-add\``,
        facts: {
          user: host.user,
          host: host.host,
          port: host.port,
          tried: [...host.identityFiles],
          ...facts,
        },
      },
    );
  }
  throw new RemoteError('bootstrap_failed', `${describeHost(host)} logged us in and runs no command`, {
    hint: 'the account needs a login shell that runs commands',
    facts: { stage: 'connect', remote_stderr: said },
  });
}

/** The last key that ssh looked up by name; `ADDRESS` and `ORDER` are other questions of it. */
async function shownKey(dir: string): Promise<HostKey | undefined> {
  const text = await readFile(join(dir, 'keys'), 'utf8').catch(() => '');
  const last = text.split('\n').findLast((line) => line.startsWith('HOSTNAME '));
  return last === undefined ? undefined : readHostKey(Buffer.from(last.slice('HOSTNAME '.length), 'base64'));
}

async function exists(path: string): Promise<boolean> {
  return (await readFile(path).catch(() => undefined)) !== undefined;
}

class SystemTransport implements HostTransport {
  readonly kind = 'system';
  readonly closed: Promise<RemoteError | undefined>;
  readonly #host: ResolvedHost;
  /** 0700, ours: control socket, forwarded sockets. */
  readonly #dir: string;
  readonly #master: SshMaster;
  readonly #environment: SshEnvironment;
  readonly #sockets = new Set<Duplex>();
  #hops: readonly SystemTransport[] = [];
  #description: string;
  #forwards = 0;
  #closing = false;

  constructor(host: ResolvedHost, dir: string, master: SshMaster, environment: SshEnvironment) {
    this.#host = host;
    this.#dir = dir;
    this.#master = master;
    this.#environment = environment;
    this.#description = describeHost(host);
    this.closed = new Promise<void>((resolve) => {
      if (!master.running) resolve();
      master.child.once('exit', () => resolve());
    }).then(() => this.#ended());
  }

  get description(): string {
    return this.#description;
  }

  /** What `ssh` runs to reach the next host through this one: a line for its shell, of nothing but our own folder's name. ssh puts `exec` before it. */
  get proxyCommand(): string {
    return `'${this.#environment.program ?? 'ssh'}' ${this.#words().join(' ')} -W '[%h]:%p' mux`;
  }

  /** Takes over the hops before this one: they end with it. */
  own(hops: readonly SystemTransport[], description: string): void {
    this.#hops = hops;
    this.#description = description;
  }

  async exec(line: string): Promise<RemoteProcess> {
    if (!this.#master.running) throw this.#broken();
    const child = spawn(this.#environment.program ?? 'ssh', [...this.#words(), '-T', '--', 'mux', line], {
      env: childEnv(this.#environment),
      stdio: 'pipe',
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (error) =>
        reject(unreachable(this.#host, 'ssh_failed', 'ssh cannot be started', error)),
      );
    });
    const process = new ChildProcess(child);
    return Object.assign(process, { exited: process.exited.then((exit) => this.#exitThere(exit)) });
  }

  /** ssh says 255 for a connection that broke, and a program there may say 255 too: the master knows which it was. */
  async #exitThere(exit: RemoteExit): Promise<RemoteExit> {
    return exit.code === 255 && !(await this.#control('check')) ? {} : exit;
  }

  async forward(socketPath: string, onConnection: (connection: Duplex) => void): Promise<Forwarding> {
    // ssh expands %, $ and : in a forwarding; a path that has them goes another way.
    if (!/^\/[A-Za-z0-9/._@+,=~ -]+$/.test(socketPath)) throw forwardingRefused(this.#host);
    const local = join(this.#dir, `f${this.#forwards++}`);
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      socket.on('error', () => undefined);
      onConnection(socket);
    });
    server.listen(local);
    await once(server, 'listening');
    const close = async (): Promise<void> => {
      if (!server.listening) return;
      server.close();
      if (this.#master.running) await this.#control('cancel', `${socketPath}:${local}`);
      await rm(local, { force: true });
    };
    if (!(await this.#control('forward', `${socketPath}:${local}`))) {
      await close();
      throw this.#master.running ? forwardingRefused(this.#host) : this.#broken();
    }
    void this.closed.then(() => server.close());
    return { close };
  }

  /** The control socket answers for the local ssh only, so the round trip is a program that does nothing. */
  async ping(): Promise<void> {
    const process = await this.exec('exec true');
    process.stdin.end();
    process.stdout.resume();
    process.stderr.resume();
    await process.exited;
    if (!this.#master.running) throw this.#broken();
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#master.child.kill('SIGTERM');
    await this.closed;
  }

  /** Words of an `ssh` that talks to the master and to nothing else: without one it fails instead of connecting by itself. */
  #words(): string[] {
    return [
      '-F',
      '/dev/null',
      '-S',
      join(this.#dir, 'mux'),
      ...['BatchMode=yes', 'ControlMaster=no', 'ProxyCommand=false', 'LogLevel=ERROR'].flatMap((option) => [
        '-o',
        option,
      ]),
    ];
  }

  async #control(what: 'forward' | 'cancel' | 'check', forwarding?: string): Promise<boolean> {
    const child = spawn(
      this.#environment.program ?? 'ssh',
      [...this.#words(), '-O', what, ...(forwarding === undefined ? [] : ['-R', forwarding]), '--', 'mux'],
      { env: childEnv(this.#environment), stdio: 'ignore' },
    );
    return new Promise((resolve) => {
      child.once('exit', (code) => resolve(code === 0));
      child.once('error', () => resolve(false));
    });
  }

  async #ended(): Promise<RemoteError | undefined> {
    for (const socket of this.#sockets) socket.destroy();
    for (const hop of [...this.#hops].reverse()) await hop.close();
    await rm(this.#dir, { recursive: true, force: true });
    return this.#closing ? undefined : this.#broken();
  }

  #broken(): RemoteError {
    return new RemoteError(
      'connection_reset',
      `the SSH connection to ${this.#description} broke: connection reset by peer`,
      {
        hint: 'it is opened again by itself where a tunnel needs it; else repeat',
      },
    );
  }
}
