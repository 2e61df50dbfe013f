import type { MachineDownResult } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { down } from '../bootstrap/index.ts';
import { callAgent } from '../execs/agent-call.ts';
import { notBroughtUp } from '../registry/not-brought-up.ts';
import type { MachineRecord, PlacedInstallation } from '../registry/registry.ts';
import { type HostTransport, LocalTransport } from '../ssh/index.ts';
import { hostKeyNotes } from './host-key-notes.ts';
import type { MachineWorld } from './machines.ts';
import { connectSsh, sshTarget } from './ssh-access.ts';

/** Lets a machine go: its agent ends, its execs go on. With `purge` also what was installed is removed, when none runs. */
export class MachineDown {
  readonly #world: MachineWorld;
  readonly #machine: MachineRecord;

  constructor(world: MachineWorld, machine: MachineRecord) {
    this.#world = world;
    this.#machine = machine;
  }

  async run(purge: boolean): Promise<MachineDownResult> {
    const { tunnels } = this.#world;
    const { name, installation } = this.#machine;
    if (!installation) throw notBroughtUp(this.#machine);
    if (installation.home === undefined) return this.#downJoined(purge);
    // Without an agent a tunnel leads nowhere; `machine up` opens the next. It ends first: a bridge would be opened anew
    // when the agent ends, fail in the middle of a purge, and take the connection with it.
    const standing = await tunnels.release(name);
    try {
      const transport = standing ?? (await this.#connect(installation.connection === 'local'));
      try {
        return await this.#down(installation, transport, purge);
      } finally {
        await transport.close();
      }
    } catch (error) {
      // It may be up still.
      await tunnels.reopen(this.#machine, installation);
      throw error;
    }
  }

  /** A machine that joined by itself is reached by its session alone: that can stop the agent, and remove nothing. */
  async #downJoined(purge: boolean): Promise<MachineDownResult> {
    const { clock, links, registry } = this.#world;
    const { name } = this.#machine;
    if (purge)
      throw new RemoteError(
        'conflict',
        `conflict: ${name} joined by an invitation: nothing can be removed there from here`,
        {
          machine: name,
          hint: `on the machine: remove the agent's home; here: codex-remote machine remove ${name}`,
          sent: 'no',
        },
      );
    const signal = new AbortController().signal;
    const link = links.of(name);
    const { running } = await callAgent(await link.session(0, signal), 'agent.stop', {}, { signal });
    await registry.update(name, (record) => {
      record.down_at = new Date(clock.wall()).toISOString();
    });
    link.takenDown();
    return { machine: name, stopped: true, running: [...running], queued: [], purged: false };
  }

  async #down(
    installation: PlacedInstallation,
    transport: HostTransport,
    purge: boolean,
  ): Promise<MachineDownResult> {
    const { clock, links, registry } = this.#world;
    const { name } = this.#machine;
    const { stopped, running, queued, purged } = await down({
      clock,
      transport,
      purge,
      installed: {
        node: installation.node,
        agent: installation.bundle,
        home: installation.home,
        base: installation.base,
      },
    });
    await registry.update(name, (record) => {
      record.down_at = new Date(clock.wall()).toISOString();
      if (purged) delete record.installation;
    });
    links.of(name).takenDown();
    return { machine: name, stopped, running: [...running], queued: [...(queued ?? [])], purged };
  }

  #connect(local: boolean): Promise<HostTransport> {
    if (local) return Promise.resolve(new LocalTransport(process.env));
    return connectSsh(
      sshTarget(this.#machine),
      this.#machine.ssh_memory,
      this.#world.clock,
      new AbortController().signal,
      hostKeyNotes(this.#world.audit, this.#machine.name),
    );
  }
}
