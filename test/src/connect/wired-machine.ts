import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadOrCreateIdentity, systemClock } from '@codex-remote/platform';
import type { ExecSpec, ExecView, LogSelection, StartReply } from '@codex-remote/protocol/schema';
import { encodeRecord, RecordParser, RemoteError, streamId } from '@codex-remote/protocol/wire';
import { pino } from 'pino';
import { Connector } from '../../../agent/src/connect/connector.ts';
import { FileWriter } from '../../../agent/src/files/write-file.ts';
import { createHandler } from '../../../agent/src/serve/serve-session.ts';
import { StoreLab } from '../../../agent/test/support/store-lab.ts';
import { ExecChanges } from '../../../controller/src/execs/changes.ts';
import { Execs } from '../../../controller/src/execs/execs.ts';
import { followReports } from '../../../controller/src/execs/reports.ts';
import { RequestBody } from '../../../controller/src/execs/request-body.ts';
import { Files } from '../../../controller/src/files/files.ts';
import { Gateway } from '../../../controller/src/gateway/gateway.ts';
import { SqliteHistory } from '../../../controller/src/history/sqlite-history.ts';
import { Links } from '../../../controller/src/links/links.ts';
import type { Registry } from '../../../controller/src/registry/registry.ts';
import { Sync } from '../../../controller/src/sync/sync.ts';
import { TcpProxy } from '../lab/tcp-proxy.ts';

const never = new AbortController().signal;
const name = 'box';

/**
 * The real halves of controller and agent that a job passes through, in one process: gateway, links, history and execs on
 * one side, connector and store with real jobs on the other, and between them a proxy that breaks.
 */
export class WiredMachine {
  readonly dir: string;
  readonly lab = new StoreLab();
  readonly links = new Links(systemClock);
  readonly history = new SqliteHistory(':memory:', systemClock);
  readonly changes = new ExecChanges();
  readonly execs: Execs;
  readonly files: Files;
  readonly sync: Sync;
  readonly proxy: TcpProxy;
  readonly #writer = new FileWriter(join(this.lab.home, 'writes'));
  readonly #gateway: Gateway;
  readonly #connector: Connector;
  readonly #server: Server;

  static async open(): Promise<WiredMachine> {
    const dir = mkdtempSync(join(tmpdir(), 'wire-'));
    // A folder of its own: the connector looks again whenever something changes beside its socket.
    mkdirSync(join(dir, 'agent'));
    const proxy = await TcpProxy.open(join(dir, 'gateway.sock'), join(dir, 'agent/proxy.sock'));
    const machine = new WiredMachine(dir, proxy);
    await new Promise<void>((resolve) => machine.#server.listen(join(dir, 'gateway.sock'), resolve));
    void machine.#connector.run();
    await machine.links.of(name).session(10_000, never);
    return machine;
  }

  private constructor(sockets: string, proxy: TcpProxy) {
    this.dir = sockets;
    this.proxy = proxy;
    const identity = loadOrCreateIdentity(join(sockets, 'controller.pem'));
    const agent = loadOrCreateIdentity(join(sockets, 'agent.pem'));
    const log = pino({ level: 'silent' });
    const { links, history, changes } = this;
    this.execs = new Execs({ registry: registryOf(name), links, history, changes, clock: systemClock });
    this.files = new Files({ registry: registryOf(name), links });
    this.sync = new Sync({ registry: registryOf(name), links });
    this.#gateway = new Gateway({
      identity,
      clock: systemClock,
      log,
      keyOf: () => agent.publicKey,
      admit: (hello) => links.of(name).admit(hello),
      connected: (session, hello) => {
        links.of(name).attach(session, { connection: 'tunnel', connectedSince: '', hello });
        followReports(session, name, history, changes).catch(() => undefined);
      },
    });
    this.#server = createServer((socket) => this.#gateway.accept(socket, { via: 'tunnel', machine: name }));
    this.#connector = new Connector({
      self: {
        config: {
          version: 1,
          machine: name,
          controller_id: 'c0ffee',
          controller_key: identity.publicKey,
          host_id: 'h',
          endpoints: [{ kind: 'unix', path: join(sockets, 'agent/proxy.sock') }],
        },
        identity: agent,
        bootId: 'b',
        instanceId: 'i1',
        version: '0.0.0',
      },
      clock: systemClock,
      // Dials again at once: the waiting has tests of its own.
      random: () => 0,
      log,
      accept: (channel, verb, params) =>
        void createHandler({
          writer: this.#writer,
          store: this.lab.store,
          version: '0.0.0',
          stop: () => undefined,
          trust: () => 0,
        })(channel, verb, params),
    });
  }

  get connected(): boolean {
    return this.links.of(name).live !== undefined;
  }

  /** Ends the session as a controller does; the agent dials again. */
  drop(): void {
    this.links.of(name).live?.session.end(new RemoteError('session_replaced', 'dropped by the test'));
  }

  /** Starts `cmd`, which first notes its start in a file of its own: a wrong report cannot hide. */
  start(id: string, cmd: string, stdin?: Uint8Array): Promise<StartReply> {
    const spec: ExecSpec = {
      exec_id: id,
      command: { kind: 'cmd', cmd: `echo started >> ${this.#note(id)}; ${cmd}` },
      env: {},
      stdin: stdin !== undefined,
      merge: false,
      mode: 'async',
    };
    return this.execs.start(name, id, new RequestBody(bodyOf(spec, stdin)), 15_000, never);
  }

  /** How often the job of `id` began, as it says itself. */
  starts(id: string): number {
    const file = this.#note(id);
    return existsSync(file) ? readFileSync(file, 'utf8').split('\n').length - 1 : 0;
  }

  /** All of stdout from `from` to the end of the exec; fails on a gap or a double. `pace`: called for each record. */
  async follow(id: string, from = 0, pace: () => Promise<void> = async () => {}): Promise<Buffer> {
    const select: LogSelection = { streams: ['stdout'], from: { stdout: from }, follow: true };
    const parser = new RecordParser();
    const chunks: Buffer[] = [];
    let next = from;
    const write = async (records: Uint8Array): Promise<void> => {
      for (const record of parser.push(records)) {
        if (record.kind !== 'data') continue;
        if (record.offset !== next) throw new Error(`${id} goes on at ${record.offset}, not ${next}`);
        next += record.bytes.byteLength;
        chunks.push(Buffer.from(record.bytes));
      }
      await pace();
    };
    await this.execs.logs(id, name, select, write, never);
    return Buffer.concat(chunks);
  }

  async ended(id: string): Promise<ExecView['state']> {
    const { execs } = await this.execs.wait([id], name, 'all', 60_000, never);
    const [view] = execs;
    if (!view) throw new Error('no view');
    return view.state;
  }

  async close(): Promise<void> {
    this.#connector.stop();
    this.links.closeAll();
    this.#gateway.close();
    await this.proxy.close();
    await new Promise((resolve) => this.#server.close(resolve));
    this.history.close();
    this.lab.close();
    rmSync(this.dir, { recursive: true, force: true });
  }

  #note(id: string): string {
    return join(this.dir, `${id}.starts`);
  }
}

async function* bodyOf(spec: ExecSpec, stdin?: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
  const text = Buffer.from(JSON.stringify(spec));
  yield encodeRecord({ kind: 'data', stream: streamId.spec, offset: 0, bytes: text });
  for (let at = 0; stdin && at < stdin.byteLength; at += 32_768)
    yield encodeRecord({
      kind: 'data',
      stream: streamId.stdin,
      offset: at,
      bytes: stdin.subarray(at, at + 32_768),
    });
}

function registryOf(machine: string): Registry {
  const installation = {
    agent_key: 'k',
    host_id: 'h',
    home: '/h',
    run_dir: '/r',
    base: '/b',
    node: '/n',
    bundle: '/a',
    connection: 'tunnel' as const,
  };
  const record = { name: machine, added_at: '2026-01-01T00:00:00.000Z', ssh_memory: {}, installation };
  const refuse = () => Promise.reject(new Error('not here'));
  return {
    list: () => [record],
    get: (wanted) => (wanted === machine ? record : undefined),
    add: refuse,
    update: refuse,
    commit: refuse,
    remove: refuse,
  };
}
