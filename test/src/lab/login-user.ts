import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chown, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Where useradd(8) and the like are. */
const systemPath = '/usr/sbin:/usr/bin:/sbin:/bin';

export interface LoginUserOptions {
  /** Parent of the home folder; other users must be able to pass through it. */
  readonly dir: string;
  readonly shell?: string;
  /** What PATH is in the user's shells: a place without Node. */
  readonly path: string;
  /** False: rc files set PATH and print nothing. */
  readonly noise?: boolean;
}

/**
 * A real login user of this system, made by useradd(8) with a random name and removed again. Its rc files print noise on
 * both streams, as those of real people do. Needs root.
 */
export class LoginUser {
  readonly name: string;
  readonly home: string;
  readonly uid: number;
  readonly gid: number;

  private constructor(name: string, home: string, uid: number, gid: number) {
    this.name = name;
    this.home = home;
    this.uid = uid;
    this.gid = gid;
  }

  static async create(options: LoginUserOptions): Promise<LoginUser> {
    if (process.getuid?.() !== 0)
      throw new Error('the SSH lab makes a login user and starts sshd: run it as root');
    const name = `crt${randomBytes(5).toString('hex')}`;
    const home = join(options.dir, name);
    const shell = options.shell ?? '/bin/bash';
    await accountTool('useradd', [
      '--no-create-home',
      '--no-log-init',
      '--home-dir',
      home,
      '--shell',
      shell,
      '--password',
      '*',
      '--user-group',
      name,
    ]);
    const [, , uid, gid] = (await passwdEntry(name)).split(':');
    const user = new LoginUser(name, home, Number(uid), Number(gid));
    await mkdir(home, { mode: 0o700 });
    await user.write('.profile', rcFile(options, 'profile'));
    await user.write('.bashrc', rcFile(options, 'bashrc'));
    await chown(home, user.uid, user.gid);
    return user;
  }

  /** Writes a file of the user's, path relative to the home; folders on the way are made. */
  async write(path: string, content: string | Uint8Array, mode = 0o644): Promise<string> {
    const file = join(this.home, path);
    const folders = path.split('/').slice(0, -1);
    for (let i = 1; i <= folders.length; i++) {
      const folder = join(this.home, ...folders.slice(0, i));
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await chown(folder, this.uid, this.gid);
    }
    await writeFile(file, content, { mode });
    await chown(file, this.uid, this.gid);
    return file;
  }

  /** From now on the user can log in by this password too. */
  async setPassword(password: string): Promise<void> {
    const child = spawn('chpasswd', { stdio: ['pipe', 'ignore', 'inherit'], env: { PATH: systemPath } });
    child.stdin.end(`${this.name}:${password}\n`);
    const [code] = await once(child, 'exit');
    if (code !== 0) throw new Error(`chpasswd: exit ${code}`);
  }

  /** Pids of every process that runs as this user, zombies left out. The user is ours alone, so all of them are. */
  async processes(): Promise<number[]> {
    const pids: number[] = [];
    for (const entry of await readdir('/proc')) {
      if (!/^\d+$/.test(entry)) continue;
      const owner = await stat(`/proc/${entry}`).catch(() => undefined);
      if (owner?.uid === this.uid && !(await isZombie(entry))) pids.push(Number(entry));
    }
    return pids;
  }

  /** Kills the user's processes, removes home and account. Safe to call twice. */
  async remove(): Promise<void> {
    for (let round = 0; round < 200; round++) {
      const pids = await this.processes();
      if (pids.length === 0) break;
      for (const pid of pids) kill(pid);
      await pause(10);
    }
    await rm(this.home, { recursive: true, force: true });
    // Where agents of this user put sockets whose path would be too long.
    await rm(`/tmp/codex-remote-${this.uid}`, { recursive: true, force: true });
    // Forced: a zombie that nobody reaps counts as a process of the user's.
    await accountTool('userdel', ['--force', this.name], [6]);
  }
}

/** proc(5): the state stands after the name in brackets. */
async function isZombie(pid: string): Promise<boolean> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z');
  return text.slice(text.lastIndexOf(')') + 2).startsWith('Z');
}

function rcFile(options: LoginUserOptions, which: string): string {
  const path = `PATH=${options.path}\nexport PATH\n`;
  if (options.noise === false) return path;
  const noise = [
    `printf '\\033[1mwelcome from ${which}\\033[0m\\n'`,
    `printf '{"ok":false,"noise":"${which}"}\\n'`,
    `echo "${which}: something is deprecated" >&2`,
    `printf 'no newline at the end of ${which}'`,
    `printf 'nor here' >&2`,
  ];
  return `${path}${noise.join('\n')}\n`;
}

async function passwdEntry(name: string): Promise<string> {
  const line = (await readFile('/etc/passwd', 'utf8'))
    .split('\n')
    .find((entry) => entry.startsWith(`${name}:`));
  if (line === undefined) throw new Error(`useradd made no entry for ${name}`);
  return line;
}

/** useradd(8) and userdel(8) exit with 1 while another one holds the lock on /etc/passwd; 8 means processes still die. */
async function accountTool(tool: 'useradd' | 'userdel', argv: string[], fine: number[] = []): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await run(tool, argv, { env: { PATH: systemPath, LC_ALL: 'C' } });
      return;
    } catch (error) {
      const code = (error as { code?: unknown }).code;
      if (typeof code === 'number' && fine.includes(code)) return;
      if (code === 'ENOENT') throw new Error(`${tool} is missing: install the package passwd`);
      if ((code !== 1 && code !== 8) || attempt === 100) throw error;
      await pause(50);
    }
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
