import { chmod, copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ProcessStat } from '@codex-remote/platform';
import { Cli, type LoginUser, type Sshd, SshLab, TcpProxy } from '../src/lab/index.ts';
import { type MachineName, machineNames, type RemoteName } from './plan.ts';
import { agentsBelow, controllersOf } from './processes.ts';

interface Remote {
  readonly user: LoginUser;
  readonly server: Sshd;
  readonly proxy: TcpProxy;
}

/**
 * One user of codex-remote with three machines: this host, a login user behind a real sshd, and another one behind an sshd
 * that forwards nothing. Both networks lead through a proxy that can go silent or break.
 */
export class World {
  readonly cli: Cli;
  /** Of this run: histories, and what the jobs wrote. Passable for every user. */
  readonly folder: string;
  readonly remotes: Readonly<Record<RemoteName, Remote>>;
  readonly #lab: SshLab;

  private constructor(cli: Cli, folder: string, remotes: World['remotes'], lab: SshLab) {
    this.cli = cli;
    this.folder = folder;
    this.remotes = remotes;
    this.#lab = lab;
  }

  static async open(): Promise<World> {
    const folder = await mkdtemp(join(tmpdir(), 'cr-chaos-'));
    await chmod(folder, 0o711);
    const lab = await SshLab.open();
    try {
      await mkdir(join(folder, 'printed'));
      await mkdir(join(folder, 'inputs'));
      await mkdir(join(folder, 'truth'));
      // Three users write there.
      await chmod(join(folder, 'truth'), 0o1777);
      await copyFile(join(import.meta.dirname, 'job.sh'), join(folder, 'job.sh'));
      await chmod(join(folder, 'job.sh'), 0o644);
      const other = await lab.addUser();
      await lab.authorize(other, [lab.key]);
      const strict = await lab.startServer({ config: ['DisableForwarding yes'] });
      const remotes = {
        tunnel: { user: lab.user, server: lab.server, proxy: await TcpProxy.open(lab.server.port) },
        bridge: { user: other, server: strict, proxy: await TcpProxy.open(strict.port) },
      };
      const all = Object.entries(remotes);
      await lab.writeKnownHosts(all.map(([, remote]) => throughProxy(lab.hostLine(remote.server), remote)));
      const blocks = all.map(([name, remote]) => throughProxy(lab.hostBlock(name, remote), remote));
      const cli = await Cli.open({ CODEX_REMOTE_SSH_CONFIG: await lab.writeConfig(...blocks) });
      return new World(cli, folder, remotes, lab);
    } catch (error) {
      await lab.close();
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  get truth(): string {
    return join(this.folder, 'truth');
  }

  /** Below them lies everything of ours, but for `folder`. */
  get roots(): readonly string[] {
    return [this.cli.home, this.#lab.dir];
  }

  get uids(): readonly number[] {
    return Object.values(this.remotes).map(({ user }) => user.uid);
  }

  controllers(): ProcessStat[] {
    return controllersOf(this.cli.home);
  }

  agents(machine: MachineName): ProcessStat[] {
    return agentsBelow(this.agentBase(machine));
  }

  /** Where everything of a machine's agent lies. */
  agentBase(machine: MachineName): string {
    return machine === 'local'
      ? join(this.cli.home, 'state/local-agent')
      : join(this.remotes[machine].user.home, '.local/share/codex-remote-agent');
  }

  /** The daemons as they are now, by what people call them. */
  daemons(): { name: 'controller' | 'agent'; on: string; pid: number }[] {
    return [
      ...this.controllers().map(({ pid }) => ({ name: 'controller' as const, on: 'here', pid })),
      ...machineNames.flatMap((machine) =>
        this.agents(machine).map(({ pid }) => ({ name: 'agent' as const, on: machine, pid })),
      ),
    ];
  }

  /** Connections of the SSH servers. */
  async sshSessions(): Promise<number[]> {
    return (await Promise.all(Object.values(this.remotes).map(({ server }) => server.sessions()))).flat();
  }

  /** Ends whatever still runs and removes everything but `folder`. */
  async close(): Promise<void> {
    for (const { pid } of this.daemons()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended meanwhile.
      }
    }
    for (const { proxy } of Object.values(this.remotes)) await proxy.close();
    await rm(this.cli.home, { recursive: true, force: true });
    await this.#lab.close();
  }
}

function throughProxy(text: string, { server, proxy }: Remote): string {
  return text
    .replaceAll(`:${server.port} `, `:${proxy.port} `)
    .replaceAll(`Port ${server.port}`, `Port ${proxy.port}`);
}
