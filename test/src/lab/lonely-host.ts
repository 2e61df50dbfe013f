import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { waitFor } from './wait-for.ts';

const run = promisify(execFile);

/** Applets of busybox that could fetch something. */
const leftOut: readonly string[] = ['wget', 'nc', 'ftpget', 'tftp', 'telnet', 'ssl_client'];

export interface LonelyResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * A host that nobody can dial: a network namespace with one link, to us, and no route to anywhere else; a root folder that has
 * busybox for its shell and tools, the programs that are asked for, libraries, and nothing else. No Node, no SSH. Needs root.
 * `close` ends whatever runs there and removes all of it.
 */
export class LonelyHost {
  /** Our end of the link, where a controller can listen. */
  readonly address: string;
  readonly root: string;
  /** HOME there. */
  readonly home = '/root';
  readonly #namespace: string;
  readonly #link: string;
  readonly #ownAddress: string;
  readonly #children = new Set<ChildProcess>();

  /** `programs`: paths here of what it has beside busybox. */
  static async open(programs: readonly string[]): Promise<LonelyHost> {
    const host = new LonelyHost(await mkdtemp(join(tmpdir(), 'crh-')));
    try {
      await host.#makeRoot(programs);
      await host.#makeNetwork();
      return host;
    } catch (error) {
      await host.close();
      throw error;
    }
  }

  private constructor(root: string) {
    const id = randomBytes(4).toString('hex');
    const [third = 0, fourth = 0] = randomBytes(2);
    // 198.18.0.0/15 is for tests of networks (RFC 2544): the two addresses of a /30 in it.
    const network = `198.18.${third}`;
    this.root = root;
    this.#namespace = `crn-${id}`;
    this.#link = `crv-${id}`;
    this.address = `${network}.${(fourth & ~3) + 1}`;
    this.#ownAddress = `${network}.${(fourth & ~3) + 2}`;
  }

  /** Runs a program there to its end; what it leaves behind runs on. */
  exec(
    argv: readonly string[],
    input = '',
    env: Readonly<Record<string, string>> = {},
  ): Promise<LonelyResult> {
    const child = this.spawn(argv, env);
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout?.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => err.push(chunk));
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status) =>
        resolve({ status, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }),
      );
    });
  }

  spawn(argv: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
    const enter = [
      'for dir in usr/lib usr/lib64 proc dev; do [ ! -d "/$dir" ] || mount --rbind "/$dir" "$1/$dir" || exit; done',
      'exec chroot "$@"',
    ].join('; ');
    const words = [
      'netns',
      'exec',
      this.#namespace,
      'unshare',
      '-m',
      '/bin/sh',
      '-c',
      enter,
      'enter',
      this.root,
      ...argv,
    ];
    const child = spawn('ip', words, {
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: this.home, ...env },
      cwd: '/',
    });
    this.#children.add(child);
    child.once('close', () => this.#children.delete(child));
    return child;
  }

  /** A file of its own, by its path there. */
  path(inside: string): string {
    return join(this.root, inside);
  }

  /** Every process in its network. */
  async processes(): Promise<number[]> {
    const { stdout } = await run('ip', ['netns', 'pids', this.#namespace]);
    return stdout.split('\n').filter(Boolean).map(Number);
  }

  async close(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    await waitFor('its processes to be gone', async () => {
      const pids = await this.processes().catch(() => []);
      for (const pid of pids) kill(pid);
      return pids.length === 0;
    });
    await run('ip', ['netns', 'delete', this.#namespace]).catch(() => undefined);
    await run('ip', ['link', 'delete', this.#link]).catch(() => undefined);
    await rm(this.root, { recursive: true, force: true });
  }

  async #makeRoot(programs: readonly string[]): Promise<void> {
    for (const dir of ['bin', 'usr/lib', 'usr/lib64', 'proc', 'dev', 'tmp', 'etc', 'root'])
      await mkdir(this.path(dir), { recursive: true, mode: 0o755 });
    for (const dir of ['lib', 'lib64']) await symlink(`usr/${dir}`, this.path(dir));
    await symlink('../bin', this.path('usr/bin'));
    const { stdout } = await run('/bin/sh', ['-c', 'command -v busybox; busybox --list']);
    const [busybox = '', ...applets] = stdout.trim().split('\n');
    await copyFile(busybox, this.path('bin/busybox'));
    for (const applet of applets)
      if (!leftOut.includes(applet))
        await symlink('busybox', this.path(`bin/${applet}`)).catch(() => undefined);
    for (const program of programs) await copyFile(program, this.path(`bin/${basename(program)}`));
    await writeFile(this.path('etc/passwd'), `root:x:0:0:root:${this.home}:/bin/sh\n`);
    await writeFile(this.path('etc/group'), 'root:x:0:\n');
    await writeFile(this.path('etc/machine-id'), `${randomBytes(16).toString('hex')}\n`);
  }

  async #makeNetwork(): Promise<void> {
    const peer = this.#link.replace('crv', 'crp');
    const inside = ['netns', 'exec', this.#namespace, 'ip'];
    for (const words of [
      ['netns', 'add', this.#namespace],
      ['link', 'add', this.#link, 'type', 'veth', 'peer', 'name', peer],
      ['link', 'set', peer, 'netns', this.#namespace],
      ['address', 'add', `${this.address}/30`, 'dev', this.#link],
      ['link', 'set', this.#link, 'up'],
      [...inside, 'address', 'add', `${this.#ownAddress}/30`, 'dev', peer],
      [...inside, 'link', 'set', 'lo', 'up'],
      [...inside, 'link', 'set', peer, 'up'],
    ])
      await run('ip', words);
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}
