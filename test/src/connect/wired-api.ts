import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { Connection } from '@codex-remote/client';
import { pino } from 'pino';
import { arrivedLocally } from '../../../controller/src/access/principal.ts';
import type { ApiContext } from '../../../controller/src/http/context.ts';
import { createApi } from '../../../controller/src/http/server.ts';
import { NotedAudit } from '../../../controller/test/audit/noted-audit.ts';
import type { WiredMachine } from './wired-machine.ts';

/** The real HTTP API in front of a wired machine, on a Unix socket; it can go away and come back as a controller does. */
export class WiredApi {
  readonly audit = new NotedAudit();
  readonly connection: Connection;
  readonly #socket: string;
  readonly #api: ReturnType<typeof createApi>;
  readonly #callers = new Set<Socket>();
  #server: Server | undefined;

  static async open(machine: WiredMachine): Promise<WiredApi> {
    const api = new WiredApi(machine);
    await api.#api.ready();
    await api.comeBack();
    return api;
  }

  private constructor({ dir, execs, files, sync }: WiredMachine) {
    this.#socket = join(dir, 'api.sock');
    this.connection = new Connection({ socket: this.#socket });
    // What else there is is asked for nothing here.
    const context = { execs, files, sync, audit: this.audit } as unknown as ApiContext;
    this.#api = createApi(context, 'build', pino({ level: 'silent' }));
  }

  /** As when the controller is killed: every caller's connection breaks, and no new one is taken. */
  async goAway(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const caller of this.#callers) caller.destroy();
    await new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()));
  }

  async comeBack(): Promise<void> {
    const server = createServer((socket) => {
      this.#callers.add(socket);
      socket.on('close', () => this.#callers.delete(socket));
      arrivedLocally(socket);
      this.#api.server.emit('connection', socket);
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#socket, resolve));
  }

  async close(): Promise<void> {
    await this.goAway();
    await this.#api.close();
  }
}
