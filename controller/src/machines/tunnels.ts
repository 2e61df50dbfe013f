import type { Duplex } from 'node:stream';
import type { Logger } from '@codex-remote/platform';
import type { Clock } from '@codex-remote/protocol/wire';
import type { Audit } from '../audit/audit-log.ts';
import type { Installation, MachineRecord, PlacedInstallation } from '../registry/registry.ts';
import type { HostTransport } from '../ssh/transport.ts';
import { Tunnel, type TunnelKind } from '../ssh/tunnel.ts';
import { hostKeyNotes } from './host-key-notes.ts';
import { connectSsh, sshTarget } from './ssh-access.ts';

export interface TunnelsOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly audit: Pick<Audit, 'record'>;
  readonly onConnection: (machine: string, connection: Duplex, kind: TunnelKind) => void;
}

/** The tunnels of all machines that are reached by SSH: one each, opened again after loss until it is closed. */
export class Tunnels {
  readonly #options: TunnelsOptions;
  readonly #tunnels = new Map<string, Tunnel>();

  constructor(options: TunnelsOptions) {
    this.#options = options;
  }

  get(machine: string): Tunnel | undefined {
    return this.#tunnels.get(machine);
  }

  /** Replaces the machine's tunnel. `initial` becomes its property. */
  async open(
    machine: MachineRecord,
    installation: PlacedInstallation,
    options: { initial?: HostTransport; bridgeOnly?: boolean } = {},
  ): Promise<Tunnel> {
    await this.close(machine.name);
    const { clock, log, audit, onConnection } = this.#options;
    const tunnel = new Tunnel({
      clock,
      random: Math.random,
      runDir: installation.run_dir,
      installed: { node: installation.node, agent: installation.bundle, home: installation.home },
      connect: (signal) =>
        connectSsh(sshTarget(machine), machine.ssh_memory, clock, signal, hostKeyNotes(audit, machine.name)),
      onConnection: (connection, kind) => onConnection(machine.name, connection, kind),
      onState: (state) => {
        const error = 'error' in state ? state.error : undefined;
        log.info(
          { machine: machine.name, tunnel: state.status, code: error?.code, err: error?.message },
          'tunnel',
        );
      },
      ...options,
    });
    this.#tunnels.set(machine.name, tunnel);
    return tunnel;
  }

  /** Opens the way again to a machine that was brought up by SSH, in the way in which it was. */
  async reopen(machine: MachineRecord, installation: Installation): Promise<void> {
    if (installation.connection === 'local' || installation.home === undefined) return;
    await this.open(machine, installation, { bridgeOnly: installation.connection === 'bridge' });
  }

  /** Ends the machine's tunnel and hands over its SSH connection, where it has one: the caller closes it. */
  async release(machine: string): Promise<HostTransport | undefined> {
    const tunnel = this.#tunnels.get(machine);
    this.#tunnels.delete(machine);
    return tunnel?.release();
  }

  async close(machine: string): Promise<void> {
    const tunnel = this.#tunnels.get(machine);
    this.#tunnels.delete(machine);
    await tunnel?.close();
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#tunnels.keys()].map((machine) => this.close(machine)));
  }
}
