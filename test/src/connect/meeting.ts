import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Identity, loadOrCreateIdentity, systemClock } from '@codex-remote/platform';
import type { AgentConfig, VersionRange } from '@codex-remote/protocol/schema';
import type { Clock, RemoteError, Session } from '@codex-remote/protocol/wire';
import { type Certificate, selfSigned } from '@codex-remote/test/lab';
import { pino } from 'pino';
import type { AgentSelf } from '../../../agent/src/connect/handshake.ts';
import { Gateway, type PrivateArrival } from '../../../controller/src/gateway/gateway.ts';

/** A real gateway on a Unix socket, and what an agent needs to meet it. Everything is gone after `close`. */
export class Meeting {
  readonly dir = mkdtempSync(join(tmpdir(), 'crm-'));
  readonly controller: Identity = this.identity('controller');
  readonly agent: Identity = this.identity('agent');
  readonly sessions: Session[] = [];
  readonly refusals: RemoteError[] = [];
  readonly gateway: Gateway;
  readonly socket = join(this.dir, 'gw.sock');
  readonly #server: Server;
  /** What the controller remembers of the protocols of machines. */
  readonly floors = new Map<string, number>();
  /** What the registry has. */
  readonly enrolled = new Map([['box', this.agent.publicKey]]);
  arrival: PrivateArrival = { via: 'tunnel', machine: 'box' };

  /** `versions`: what its controller speaks. */
  constructor(clock: Clock = systemClock, versions?: VersionRange) {
    this.gateway = new Gateway({
      identity: this.controller,
      clock,
      log: pino({ level: 'silent' }),
      keyOf: (machine) => this.enrolled.get(machine),
      admit: () => undefined,
      floors: {
        of: (machine) => this.floors.get(machine) ?? 1,
        raise: async (machine, floor) => void this.floors.set(machine, floor),
      },
      refused: (cause) => this.refusals.push(cause),
      ...(versions === undefined ? {} : { versions }),
      connected: (session) => this.sessions.push(session),
    });
    this.#server = createServer((socket) => this.gateway.accept(socket, this.arrival));
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.socket, resolve));
  }

  identity(name: string): Identity {
    return loadOrCreateIdentity(join(this.dir, `${name}.pem`));
  }

  self(more: Partial<AgentConfig> = {}, identity: Identity = this.agent): AgentSelf {
    return {
      config: {
        version: 1,
        machine: 'box',
        controller_id: 'c0ffee',
        controller_key: this.controller.publicKey,
        host_id: 'h',
        endpoints: [{ kind: 'unix', path: this.socket }],
        ...more,
      },
      identity,
      bootId: 'b',
      instanceId: 'i1',
      version: '0.0.0',
    };
  }

  certificate(name: string): Certificate {
    return selfSigned(name);
  }

  async close(): Promise<void> {
    this.gateway.close();
    for (const session of this.sessions) session.end();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.dir, { recursive: true, force: true });
  }
}
