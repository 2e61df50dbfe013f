import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { answering, type KeyPair, type KeyType, makeKey } from './ssh-keys.ts';

const program = '/usr/sbin/sshd';

export interface SshdOptions {
  /** The server's own folder; made here, passable for others. */
  readonly dir: string;
  /** A file of public keys per user name: `<authorizedKeys>/<user>`. */
  readonly authorizedKeys: string;
  /** PATH of the sessions. */
  readonly path: string;
  readonly hostKeys?: readonly KeyType[];
  /** Lines of sshd_config(5) that win over those of the lab. */
  readonly config?: readonly string[];
  /** Listen here again instead of on a free port. */
  readonly port?: number;
}

/** A real OpenSSH server on a loopback port, with its own configuration and host keys, in the foreground. */
export class Sshd {
  readonly port: number;
  readonly hostKeys: readonly KeyPair[];
  readonly #child: ChildProcess;
  #log = '';

  private constructor(port: number, hostKeys: readonly KeyPair[], child: ChildProcess) {
    this.port = port;
    this.hostKeys = hostKeys;
    this.#child = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#log += text;
    });
  }

  static async start(options: SshdOptions): Promise<Sshd> {
    await access(program).catch(() => {
      throw new Error(`${program} is missing: install the package openssh-server`);
    });
    await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
    await mkdir(options.dir, { recursive: true, mode: 0o711 });
    const hostKeys: KeyPair[] = [];
    for (const type of options.hostKeys ?? ['ed25519']) {
      hostKeys.push(await makeKey(join(options.dir, `host_${type}`), { type }));
    }
    for (let attempt = 1; ; attempt++) {
      const port = options.port ?? (await freePort());
      const config = join(options.dir, 'sshd_config');
      await writeFile(config, configText(options, port, hostKeys), { mode: 0o600 });
      const child = spawn(program, ['-D', '-e', '-f', config], { stdio: ['ignore', 'ignore', 'pipe'] });
      const server = new Sshd(port, hostKeys, child);
      try {
        await answering(port, () => child.exitCode === null);
        return server;
      } catch (error) {
        await server.stop();
        // Another process may have taken the free port between the two binds.
        if (attempt === 5 || options.port !== undefined)
          throw new Error(`sshd does not start: ${server.log}`, { cause: error });
      }
    }
  }

  /** What sshd wrote to its log so far. */
  get log(): string {
    return this.#log;
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('sshd has not started');
    return this.#child.pid;
  }

  /** Pids of the per-connection processes and what runs below them, deepest last. */
  async sessions(): Promise<number[]> {
    return descendants(this.pid);
  }

  /** Kills the connections and lets the server live: what a rebooted router does to them. */
  async dropConnections(): Promise<void> {
    for (const pid of await this.sessions()) tryKill(pid, 'SIGKILL');
  }

  /** Ends the server and every connection. Safe to call twice. */
  async stop(): Promise<void> {
    if (this.#child.pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null)
      return;
    const exit = once(this.#child, 'exit');
    const sessions = await this.sessions();
    this.#child.kill('SIGTERM');
    await exit;
    for (const pid of sessions) tryKill(pid, 'SIGKILL');
  }
}

function configText(options: SshdOptions, port: number, hostKeys: readonly KeyPair[]): string {
  // sshd takes the first value of a keyword.
  return [
    ...(options.config ?? []),
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    ...hostKeys.map((key) => `HostKey ${key.path}`),
    'PidFile none',
    'UsePAM no',
    'StrictModes no',
    `AuthorizedKeysFile ${options.authorizedKeys}/%u`,
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitRootLogin no',
    'PrintMotd no',
    'MaxStartups 200',
    'LogLevel VERBOSE',
    `SetEnv PATH=${options.path}`,
    '',
  ].join('\n');
}

/** A loopback port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port was given');
  return address.port;
}

async function descendants(root: number): Promise<number[]> {
  const children = new Map<number, number[]>();
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const text = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => undefined);
    // proc(5): the name stands in brackets and may hold anything; the parent is the second field after it.
    const parent = Number(text?.slice(text.lastIndexOf(')') + 2).split(' ')[1]);
    if (parent > 0) children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
  }
  const found: number[] = [];
  const queue = [root];
  for (let pid = queue.shift(); pid !== undefined; pid = queue.shift()) {
    const below = children.get(pid) ?? [];
    found.push(...below);
    queue.push(...below);
  }
  return found;
}

function tryKill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
