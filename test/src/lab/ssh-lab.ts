import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LoginUser, type LoginUserOptions } from './login-user.ts';
import { KeyAgent, type KeyPair, type KeyType, makeKey } from './ssh-keys.ts';
import { Sshd, type SshdOptions } from './sshd.ts';
import type { TcpProxy } from './tcp-proxy.ts';

const run = promisify(execFile);

/** Programs that a machine without Node does not have. */
const notThere = /^(node|nodejs|npm|npx|corepack|yarn|yarnpkg|pnpm|bun|deno)$/;

export interface SshLabOptions {
  readonly server?: Partial<Omit<SshdOptions, 'dir' | 'authorizedKeys' | 'path'>>;
  readonly user?: Partial<Omit<LoginUserOptions, 'dir' | 'path'>>;
}

/**
 * A machine to reach by SSH: a login user without Node, a real sshd, a key that it accepts, and a client's ssh_config and
 * known_hosts. Everything it made is gone after `close`. Short path, for Unix sockets below it.
 */
export class SshLab {
  readonly dir: string;
  /** PATH of the users: this system's programs, Node taken out. */
  readonly path: string;
  readonly #closers: (() => Promise<void>)[] = [];
  #made = 0;
  #user: LoginUser | undefined;
  #server: Sshd | undefined;
  #key: KeyPair | undefined;

  private constructor(dir: string) {
    this.dir = dir;
    this.path = join(dir, 'bin');
  }

  static async open(options: SshLabOptions = {}): Promise<SshLab> {
    const lab = new SshLab(await mkdtemp(join(tmpdir(), 'crl-')));
    lab.#closers.push(() => rm(lab.dir, { recursive: true, force: true }));
    try {
      await chmod(lab.dir, 0o711);
      await linkPrograms(lab.path);
      await mkdir(lab.authorizedKeys, { mode: 0o755 });
      lab.#user = await lab.addUser(options.user);
      lab.#key = await lab.makeKey('user');
      await lab.authorize(lab.user, [lab.key]);
      lab.#server = await lab.startServer(options.server);
      await lab.writeKnownHosts([lab.hostLine(lab.server)]);
    } catch (error) {
      await lab.close();
      throw error;
    }
    return lab;
  }

  get user(): LoginUser {
    return present(this.#user);
  }

  get server(): Sshd {
    return present(this.#server);
  }

  /** The private key that `server` accepts for `user`. */
  get key(): KeyPair {
    return present(this.#key);
  }

  get authorizedKeys(): string {
    return join(this.dir, 'authorized');
  }

  get knownHosts(): string {
    return join(this.dir, 'known_hosts');
  }

  async addUser(options: SshLabOptions['user'] = {}): Promise<LoginUser> {
    const user = await LoginUser.create({ dir: this.dir, path: this.path, ...options });
    this.#closers.push(() => user.remove());
    return user;
  }

  async startServer(options: SshLabOptions['server'] = {}): Promise<Sshd> {
    const dir = join(this.dir, `sshd${++this.#made}`);
    const server = await Sshd.start({
      dir,
      authorizedKeys: this.authorizedKeys,
      path: this.path,
      ...options,
    });
    this.#closers.push(() => server.stop());
    return server;
  }

  /** A folder of the user's that is a file system of its own. `options` as for mount(8), `size=1m` or `ro`. */
  async mountFolder(user: LoginUser, name: string, options: string): Promise<string> {
    const folder = join(user.home, name);
    await mkdir(folder);
    await run('mount', [
      '-t',
      'tmpfs',
      '-o',
      `uid=${user.uid},gid=${user.gid},mode=0700,${options}`,
      'tmpfs',
      folder,
    ]);
    // Lazily: a process of the user's may still stand in it, and is ended with its user.
    this.#closers.push(async () => void (await run('umount', ['-l', folder])));
    return folder;
  }

  async startAgent(keys: readonly KeyPair[]): Promise<KeyAgent> {
    const agent = await KeyAgent.start(join(this.dir, `a${++this.#made}`), keys);
    this.#closers.push(() => agent.stop());
    return agent;
  }

  makeKey(name: string, options: { type?: KeyType; passphrase?: string } = {}): Promise<KeyPair> {
    return makeKey(join(this.dir, `key_${name}`), { ...options, comment: name });
  }

  /** Which keys may log in as `user`; replaces what was there. */
  async authorize(user: LoginUser, keys: readonly KeyPair[]): Promise<void> {
    await writeFile(join(this.authorizedKeys, user.name), keys.map((key) => `${key.publicLine}\n`).join(''), {
      mode: 0o644,
    });
  }

  /** The known_hosts line of a server, as ssh writes it for a port that is not 22. */
  hostLine(server: Sshd, host = '127.0.0.1'): string {
    return server.hostKeys.map((key) => `[${host}]:${server.port} ${key.publicLine}`).join('\n');
  }

  async writeKnownHosts(lines: readonly string[], options: { hashed?: boolean } = {}): Promise<string> {
    await writeFile(this.knownHosts, lines.map((line) => `${line}\n`).join(''), { mode: 0o600 });
    if (options.hashed) {
      await run('ssh-keygen', ['-q', '-H', '-f', this.knownHosts]);
      await rm(`${this.knownHosts}.old`, { force: true });
    }
    return this.knownHosts;
  }

  async readKnownHosts(): Promise<string> {
    return readFile(this.knownHosts, 'utf8').catch(() => '');
  }

  /** Lines of a Host block that leads to `server` as `user` with `key` and nothing of this account's own set-up. */
  hostBlock(
    alias: string,
    options: { server?: Sshd; user?: LoginUser; key?: KeyPair | null; more?: readonly string[] } = {},
  ): string {
    const key = options.key === undefined ? this.key : options.key;
    const lines = [
      `Host ${alias}`,
      '  HostName 127.0.0.1',
      `  Port ${(options.server ?? this.server).port}`,
      `  User ${(options.user ?? this.user).name}`,
      ...(key === null ? [] : [`  IdentityFile ${key.path}`]),
      ...(options.more ?? []).map((line) => `  ${line}`),
    ];
    return lines.join('\n');
  }

  /** Writes a client's ssh_config of Host blocks; its path is what `CODEX_REMOTE_SSH_CONFIG` holds. */
  async writeConfig(...blocks: string[]): Promise<string> {
    const path = join(this.dir, `config${++this.#made}`);
    const common = [
      'Host *',
      `  UserKnownHostsFile ${this.knownHosts}`,
      '  GlobalKnownHostsFile /dev/null',
      '  IdentitiesOnly no',
      // Never the keys of the account that runs the tests.
      `  IdentityFile ${join(this.dir, 'no-such-key')}`,
    ];
    await writeFile(path, [...blocks, common.join('\n'), ''].join('\n'), { mode: 0o600 });
    return path;
  }

  /** The ssh_config of a user for whom the server is host `box` behind the proxy, and whose known_hosts has it there too. */
  async configThrough(proxy: TcpProxy): Promise<string> {
    const line = this.hostLine(this.server);
    await this.writeKnownHosts([line, line.replaceAll(`:${this.server.port} `, `:${proxy.port} `)]);
    return this.writeConfig(this.hostBlock('box').replace(`Port ${this.server.port}`, `Port ${proxy.port}`));
  }

  /** Ends and removes all, newest first, and reports the first failure after having tried everything. */
  async close(): Promise<void> {
    const failures: unknown[] = [];
    for (let closer = this.#closers.pop(); closer !== undefined; closer = this.#closers.pop()) {
      await closer().catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw failures[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('the lab is not open yet');
  return value;
}

async function linkPrograms(to: string): Promise<void> {
  await mkdir(to, { mode: 0o755 });
  const seen = new Set<string>();
  for (const folder of ['/usr/bin', '/bin', '/usr/sbin', '/sbin']) {
    for (const name of await readdir(folder).catch(() => [])) {
      if (seen.has(name) || notThere.test(name)) continue;
      seen.add(name);
      await symlink(join(folder, name), join(to, name));
    }
  }
}
