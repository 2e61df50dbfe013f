import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { waitFor } from './wait-for.ts';

const run = promisify(execFile);

/** In a mount namespace of its own: systemd runs as a user's manager only where the system was booted by systemd. */
const script =
  'mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/system && exec /lib/systemd/systemd --user';

/** What logind would say: linger is on. How it was called is in the file `calls` beside it. */
const loginctl = `#!/bin/sh
echo "loginctl $*" >>"\${0%/*}/calls"
case "$*" in *Linger*) echo yes ;; *KillUserProcesses*) echo no ;; esac
`;

/** A real systemd user manager of root's, in control groups of its own. Needs "a user manager of systemd". */
export class UserManager {
  /** For whatever is to talk to it. */
  readonly env: Readonly<Record<string, string>>;
  /** Words before a command that is to run where it is. */
  readonly within: readonly ['nsenter', ...string[]];
  readonly #dir: string;
  readonly #groups: readonly string[];
  readonly #process: ChildProcess;

  private constructor(dir: string, groups: readonly string[], child: ChildProcess) {
    this.#dir = dir;
    this.#groups = groups;
    this.#process = child;
    this.env = environment(dir);
    this.within = ['nsenter', '-t', String(child.pid), '-m', '--'];
  }

  /** `home`: of the user that it manages. */
  static async start(home: string): Promise<UserManager> {
    const dir = await mkdtemp(join(tmpdir(), 'crs-'));
    await mkdir(join(dir, 'bin'));
    await writeFile(join(dir, 'bin/loginctl'), loginctl);
    await chmod(join(dir, 'bin/loginctl'), 0o755);
    const groups = await makeGroups();
    const enter = groups.map((group) => `echo $$ >'${group}/cgroup.procs' && `).join('');
    const child = spawn('unshare', ['-m', 'sh', '-c', enter + script], {
      env: { ...environment(dir), HOME: home },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const manager = new UserManager(dir, groups, child);
    await waitFor('the user manager', () => existsSync(join(dir, 'systemd/private')));
    await waitFor('its units', async () => (await manager.systemctl('is-system-running')) === 'running');
    return manager;
  }

  /** What `systemctl --user` prints, whatever its status. */
  async systemctl(...words: string[]): Promise<string> {
    const [program, ...args] = [...this.within, 'systemctl', '--user', ...words];
    const said = await run(program, args, { env: this.env }).catch((error: { stdout?: string }) => error);
    return (said.stdout ?? '').trim();
  }

  /** How logind was called, a line each. */
  async logindCalls(): Promise<string[]> {
    const calls = await readFile(join(this.#dir, 'bin/calls'), 'utf8').catch(() => '');
    return calls.split('\n').filter(Boolean);
  }

  /** Ends it, and removes its control groups once nothing is in them. */
  async close(): Promise<void> {
    this.#process.kill('SIGTERM');
    if (this.#process.exitCode === null && this.#process.signalCode === null)
      await once(this.#process, 'exit');
    for (const group of this.#groups) await waitFor(`an end of ${group}`, () => removeGroup(group));
    await rm(this.#dir, { recursive: true, force: true });
  }
}

function environment(dir: string): Record<string, string> {
  return { PATH: `${join(dir, 'bin')}:${process.env.PATH ?? ''}`, XDG_RUNTIME_DIR: dir };
}

/** One in each hierarchy that a manager works in: that of systemd itself (cgroup v1), and the unified one. */
async function makeGroups(): Promise<string[]> {
  const mounts = await readFile('/proc/self/mounts', 'latin1');
  const own = await readFile('/proc/self/cgroup', 'latin1');
  const groups: string[] = [];
  for (const line of mounts.split('\n')) {
    const [, path = '', type, options = ''] = line.split(' ');
    const name = options.split(',').includes('name=systemd') ? 'name=systemd' : '';
    if (type !== 'cgroup2' && name === '') continue;
    const below = own.match(new RegExp(`^\\d+:${name}:(.*)$`, 'm'))?.[1] ?? '/';
    groups.push(await mkdtemp(join(path, below, 'crs-')));
  }
  return groups;
}

/** True when it is gone. It is busy while a process is in it or below. */
async function removeGroup(path: string): Promise<boolean> {
  try {
    for (const entry of await readdir(path, { withFileTypes: true }))
      if (entry.isDirectory() && !(await removeGroup(join(path, entry.name)))) return false;
    await rmdir(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}
