import { mkdtempSync, rmSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { createLogger, RotatingFile, systemClock } from '@codex-remote/platform';
import type { ControllerStatus, MachineView } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { type Certificate, selfSigned } from '../../../test/src/lab/certificate.ts';
import { arrivedLocally, localPrincipal } from '../../src/access/principal.ts';
import { auditOfToken } from '../../src/access/token-audit.ts';
import { Tokens } from '../../src/access/tokens.ts';
import type { Direct, PublicAddress } from '../../src/direct/direct.ts';
import type { Downloads } from '../../src/enrolment/downloads.ts';
import type { Invitations } from '../../src/enrolment/invitations.ts';
import { Starts } from '../../src/execs/starts.ts';
import type { Files } from '../../src/files/files.ts';
import { createApi } from '../../src/http/server.ts';
import type { Machines } from '../../src/machines/machines.ts';
import type { Prompts } from '../../src/machines/prompts.ts';
import type { Git } from '../../src/projects/git.ts';
import type { Projects } from '../../src/projects/projects.ts';
import type { Sync } from '../../src/sync/sync.ts';
import { NotedAudit } from '../audit/noted-audit.ts';
import { execsWorld, finished, unknownExec } from '../execs/machine-stand-in.ts';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
}

export interface Asked {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** Over TLS; without it over the Unix socket. */
  readonly tls?: { readonly token?: string | undefined; readonly host?: string };
}

/**
 * The real API on its Unix socket and behind real TLS on loopback, with tokens, and the machines `box` and `other` that
 * answer: `box` has the exec `e-box`, `other` has `e-other`. Everything is gone after `close`.
 */
export class DoorLab {
  readonly dir = mkdtempSync(join(tmpdir(), 'cr-door-'));
  readonly certificate: Certificate = selfSigned('controller');
  readonly world = execsWorld(['box', 'other']);
  readonly audit = new NotedAudit();
  readonly clock = { ...systemClock, ahead: 0, wall: (): number => Date.now() + this.clock.ahead };
  readonly #socket = join(this.dir, 'api.sock');
  readonly #servers: Server[] = [];
  #tokens: Tokens | undefined;
  #api: ReturnType<typeof createApi> | undefined;
  port = 0;

  static async open(): Promise<DoorLab> {
    const lab = new DoorLab();
    await lab.#open();
    return lab;
  }

  get tokens(): Tokens {
    if (!this.#tokens) throw new Error('not open');
    return this.#tokens;
  }

  /** The secret of a new token; `ttlMs` in the past is an expired one. */
  async token(
    scopes: readonly string[],
    machines?: readonly string[],
  ): Promise<{ id: string; token: string }> {
    const wanted = { scopes: [...scopes], ...(machines && { machines: [...machines] }) };
    return this.tokens.create(localPrincipal, 'unix', wanted);
  }

  ask({ method = 'GET', path, headers = {}, body, tls }: Asked): Promise<Answer> {
    const authorization = tls?.token === undefined ? {} : { authorization: `Bearer ${tls.token}` };
    const all = { ...(tls && { host: tls.host ?? `127.0.0.1:${this.port}` }), ...authorization, ...headers };
    return new Promise((resolve, reject) => {
      const common = { method, path, headers: all, agent: false };
      const asked = tls
        ? requestHttps({
            ...common,
            host: '127.0.0.1',
            port: this.port,
            ca: this.certificate.cert,
            minVersion: 'TLSv1.3',
            // A browser on a name that was pointed at us would check it; whoever attacks need not.
            checkServerIdentity: () => undefined,
          })
        : requestHttp({ ...common, socketPath: this.#socket });
      asked.on('response', (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            bytes: Buffer.concat(parts),
          }),
        );
      });
      asked.on('error', reject);
      asked.end(body);
    });
  }

  async close(): Promise<void> {
    await this.#api?.close();
    for (const server of this.#servers) server.close();
    await this.tokens.close();
    this.world.close();
    rmSync(this.dir, { recursive: true, force: true });
  }

  async #open(): Promise<void> {
    const log = createLogger(new RotatingFile(join(this.dir, 'log')));
    const { clock, audit, world } = this;
    const tokens = await Tokens.open(join(this.dir, 'tokens.json'), {
      clock,
      log,
      record: (event) => audit.record(auditOfToken(event)),
    });
    this.#tokens = tokens;
    this.#api = createApi(
      {
        execs: world.execs,
        files: filesStandIn(),
        sync: syncStandIn(),
        projects: projectsStandIn(),
        git: gitStandIn(),
        starts: new Starts(world.execs, audit, { checkMachine: () => undefined }),
        machines: machinesStandIn(),
        prompts: { answer: () => undefined } as unknown as Prompts,
        invitations: invitationsStandIn(),
        downloads: {} as Downloads,
        audit,
        tokens,
        direct: directStandIn(() => ({
          url: `https://127.0.0.1:${this.port}`,
          spki_sha256: [this.certificate.pin],
          certificates: [this.certificate.cert],
          certificate: this.certificate.cert,
        })),
        clock,
        status: () => ({ running: true, pid: 1, socket: '/run/api.sock' }) as ControllerStatus,
        stop: () => undefined,
      },
      'build',
      log,
      {
        authenticate: (token, socket) => tokens.authenticate(token, socket),
        hosts: () => ['controller.example', '127.0.0.1', 'localhost'],
      },
    );
    await this.#api.ready();
    const { server } = this.#api;
    const here = createServer((socket) => {
      arrivedLocally(socket);
      server.emit('connection', socket);
    });
    const there = createTlsServer(
      { key: this.certificate.key, cert: this.certificate.cert, minVersion: 'TLSv1.3' },
      (socket) => {
        socket.on('error', () => socket.destroy());
        server.emit('connection', socket);
      },
    );
    this.#servers.push(here, there);
    await new Promise<void>((resolve) => here.listen(this.#socket, resolve));
    await new Promise<void>((resolve) => there.listen(0, '127.0.0.1', resolve));
    this.port = (there.address() as AddressInfo).port;
    for (const machine of ['box', 'other']) {
      const kept = { path: 'report.md', size: 1, sha256: '0'.repeat(64) };
      const artifacts = { files: [kept], count: 1, bytes: 1 };
      const state = { ...finished(`e-${machine}`), artifacts };
      const serve = (verb: string, params: unknown) => {
        const { exec_id } = params as { exec_id?: string };
        if (exec_id !== state.exec_id) return unknownExec();
        if (verb === 'exec.logs' || verb === 'exec.diff' || verb.startsWith('artifact.'))
          throw new RemoteError('log_gone', 'nothing is kept here');
        const tail = { from: 0, bytes: Buffer.from(`output of ${machine}`) };
        if (verb === 'exec.get') return { state, stdout_tail: tail, stderr_tail: tail };
        if (verb === 'exec.cancel') return { state, already_finished: true, leftover_pids: [] };
        return { state, attached: true };
      };
      world.connect(machine, (_channel, verb, params) => serve(verb, params), ['queues', 'artifacts', 'git']);
    }
  }
}

/** Answers everything about any file. */
function syncStandIn(): Sync {
  const answer = (): Promise<object> => Promise.resolve({});
  return { push: answer, pull: answer } as unknown as Sync;
}

function filesStandIn(): Files {
  const answer = (): Promise<object> => Promise.resolve({});
  const all = { stat: answer, list: answer, read: answer, write: answer, remove: answer, mkdir: answer };
  return all as unknown as Files;
}

/** Has the project `app`, of any machine. */
function projectsStandIn(): Projects {
  const app = {
    name: 'app',
    repo: { kind: 'url', url: 'https://example.org/app' },
    added_at: '2026-01-01T00:00:00.000Z',
  };
  const known = {
    list: () => [app],
    get: () => app,
    add: () => Promise.resolve(app),
    remove: () => Promise.resolve(app),
    checkMachine: () => undefined,
  };
  return known as unknown as Projects;
}

function gitStandIn(): Git {
  const answer = (): Promise<object> => Promise.resolve({});
  return { have: answer, receive: answer, fetch: answer, remove: answer } as unknown as Git;
}

function invitationsStandIn(): Invitations {
  const known = {
    invite: (machine: string) => Promise.resolve({ invited: { machine }, tokenId: 't' }),
    revoke: () => Promise.resolve(0),
    bundle: () => Promise.resolve({ expires_at: '', tokenId: 't', file: [] }),
  };
  return known as unknown as Invitations;
}

function machinesStandIn(): Machines {
  const names = ['box', 'other'];
  const view = (machine: string): MachineView => ({
    machine,
    connected: true,
    installed: true,
    added_at: '2026-01-01T00:00:00.000Z',
  });
  const known = {
    names: () => names,
    list: () => names.map(view),
    add: ({ name }: { name: string }) => Promise.resolve(view(name)),
    showWithQueues: (name: string) => Promise.resolve(view(name)),
    setQueues: () => Promise.resolve([]),
    setPolicy: () => Promise.resolve({ policy: { mode: 'full' }, enforced_by: 'agent' }),
    remove: () => Promise.resolve(),
    check: (machine: string, context: object) => Promise.resolve({ machine, context }),
    up: (machine: string) => Promise.resolve({ machine, stages: [] }),
    down: (machine: string) => Promise.resolve({ machine }),
  };
  return known as unknown as Machines;
}

function directStandIn(address: () => PublicAddress): Direct {
  return {
    address,
    status: () => ({}),
    configure: () => Promise.resolve(),
    rotate: () => Promise.resolve(),
  } as unknown as Direct;
}
