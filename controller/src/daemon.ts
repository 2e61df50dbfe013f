import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import {
  type ControllerPaths,
  createLogger,
  loadOrCreateIdentity,
  makePrivateDir,
  RotatingFile,
  sweepTemporary,
  systemClock,
  takeLock,
} from '@codex-remote/platform';
import type { ControllerStatus, DirectChange, Hello } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { arrivedLocally } from './access/principal.ts';
import { auditOfToken } from './access/token-audit.ts';
import { Tokens } from './access/tokens.ts';
import { AuditLog } from './audit/audit-log.ts';
import type { AuditEntry } from './audit/entry.ts';
import { SqliteHeadStore } from './audit/head-store.ts';
import { readAuditSettings } from './audit/settings.ts';
import { ownRuntimes, StoreEntries } from './bootstrap/index.ts';
import { Direct } from './direct/direct.ts';
import { announceTrust, tellTrust } from './direct/trust.ts';
import { enrolmentEntry } from './enrolment/audit-entry.ts';
import { Downloads } from './enrolment/downloads.ts';
import { Invitations } from './enrolment/invitations.ts';
import { JoinTokens } from './enrolment/join-tokens.ts';
import { Payloads } from './enrolment/payload.ts';
import { RefusedAgents } from './enrolment/refused-agents.ts';
import { ExecChanges } from './execs/changes.ts';
import { Execs } from './execs/execs.ts';
import { followReports } from './execs/reports.ts';
import { Starts } from './execs/starts.ts';
import { Files } from './files/files.ts';
import { Gateway, sourceOf } from './gateway/gateway.ts';
import { SqliteHistory } from './history/sqlite-history.ts';
import { createApi } from './http/server.ts';
import { isShortOfDescriptors, refuseForDescriptors } from './http/short-of-descriptors.ts';
import { Links } from './links/links.ts';
import { bundleFiles } from './machines/bundle.ts';
import { Machines } from './machines/machines.ts';
import { Prompts } from './machines/prompts.ts';
import { Git } from './projects/git.ts';
import { Projects } from './projects/projects.ts';
import { comesByItself } from './registry/joined.ts';
import { LowdbRegistry } from './registry/lowdb-registry.ts';
import { listenPrivately } from './sockets.ts';
import { Sync } from './sync/sync.ts';
import { takeOver } from './take-over.ts';
import { controllerBuild, controllerVersion } from './version.ts';

/** Answers that are under way get so long after a stop was asked for. */
const drainMs = 2_000;

export interface ControllerWishes {
  /** One that runs gives way; `build`: only one of that. */
  readonly replaces?: { readonly build?: string };
  /** In the foreground: told of listening by its command line, it says on stdout that it serves. */
  readonly serves?: DirectChange;
}

/**
 * Ends the process when it was asked to stop and everything is closed. Throws `already_running` where another serves, and
 * `listen_failed` where `serves` names an address that is not to be had.
 */
export async function runController(
  paths: ControllerPaths,
  { replaces, serves }: ControllerWishes = {},
): Promise<void> {
  for (const dir of [paths.config, paths.state, paths.runtime]) makePrivateDir(dir);
  const lockPath = join(paths.state, 'controller.lock');
  const lock = replaces ? await takeOver(lockPath, paths.socket, replaces.build) : takeLock(lockPath);
  // Nobody else writes here now: what a crash left half written is nobody's.
  for (const dir of [paths.config, paths.state]) sweepTemporary(dir);
  const logFile = new RotatingFile(paths.log);
  const log = createLogger(logFile);
  const clock = systemClock;
  // A defect ends the process, as Node does by itself; the next command starts another, which needs nothing of this one.
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error.message, stack: error.stack }, 'defect');
    process.exit(1);
  });
  const startedAt = new Date(clock.wall()).toISOString();
  const stopping = new AbortController();
  const identity = loadOrCreateIdentity(join(paths.config, 'controller.pem'));
  const controllerId = createHash('sha256').update(identity.publicKey).digest('hex').slice(0, 16);
  const registry = await LowdbRegistry.open(join(paths.config, 'registry.json'));
  const projects = await Projects.open(join(paths.config, 'projects.json'), clock);
  const history = new SqliteHistory(join(paths.state, 'history.sqlite'), clock);
  const audit = new AuditLog({
    dir: join(paths.state, 'audit'),
    clock,
    heads: new SqliteHeadStore(join(paths.state, 'history.sqlite')),
    settings: readAuditSettings(join(paths.config, 'audit.json')),
  });
  // A full disk is no reason not to start: what is read goes on. The log says later that it lacks an entry.
  const record = (entry: AuditEntry): Promise<void> =>
    audit
      .record(entry)
      .catch((error: unknown) => log.error({ err: RemoteError.from(error).message }, 'audit'));
  const noteSelf = (verb: string, facts: AuditEntry['facts'] = {}): Promise<void> =>
    record({ principal: 'controller', source: 'process', verb, result: 'done', facts });
  void noteSelf('controller.start', { pid: process.pid, version: controllerVersion, build: controllerBuild });
  const tokens = await Tokens.open(join(paths.config, 'tokens.json'), {
    clock,
    log,
    record: (event) => audit.record(auditOfToken(event)),
  });
  const links = new Links(clock, (machine) => {
    const record = registry.get(machine);
    return record !== undefined && comesByItself(record);
  });
  const changes = new ExecChanges();
  const execs = new Execs({ registry, links, history, changes, clock });
  const joinTokens = new JoinTokens({
    registry,
    clock,
    log,
    record: (outcome) => audit.record(enrolmentEntry(outcome)),
  });
  const refusedAgents = new RefusedAgents(clock, (entry) => void record(entry));
  /** What became of their tokens is recorded as such. */
  const claiming = new WeakSet<Hello>();
  const gateway = new Gateway({
    identity,
    clock,
    log,
    keyOf: (machine) => registry.get(machine)?.installation?.agent_key,
    claim: (hello, token, arrival) => {
      claiming.add(hello);
      return joinTokens.claim({
        machine: hello.machine,
        agentKey: hello.agent_key,
        hostId: hello.host_id,
        token,
        peer: sourceOf(arrival),
        bound: arrival.via === 'direct',
      });
    },
    admit: (hello) => links.of(hello.machine).admit(hello),
    floors: {
      of: (machine) => registry.get(machine)?.installation?.protocol_floor ?? 1,
      raise: (machine, floor) =>
        registry.commit(machine, ({ installation }) => ({
          installation: installation && { ...installation, protocol_floor: floor },
        })),
    },
    refused: (cause, arrival, claimed) => {
      const peer = arrival.via === 'direct' ? arrival.address : `${arrival.via} of ${arrival.machine}`;
      if (claimed && !claiming.has(claimed)) refusedAgents.note(claimed, sourceOf(arrival), cause.code, peer);
      // Of a direct connection nobody has proven the name by then.
      if (cause.code === 'agent_outdated' && arrival.via !== 'direct')
        links.of(arrival.machine).outdated(cause);
    },
    connected: (session, hello, arrival) => {
      const link = links.of(hello.machine);
      link.attach(session, {
        connection: arrival.via,
        connectedSince: new Date(clock.wall()).toISOString(),
        hello,
      });
      log.info({ machine: hello.machine, via: arrival.via, agent: hello.agent_version }, 'machine connected');
      void session.closed.then((cause) => {
        log.info({ machine: hello.machine, code: cause.code, err: cause.message }, 'machine disconnected');
        // A tunnel that it did not come through is none the worse.
        if (cause.code === 'peer_silent' && arrival.via !== 'direct') machines.suspect(hello.machine);
      });
      void machines
        .tellPolicy(hello.machine)
        .catch((error: unknown) => log.info({ err: RemoteError.from(error).message }, 'policy not told'));
      followReports(session, hello.machine, history, changes).catch((error: unknown) => {
        log.info({ machine: hello.machine, err: RemoteError.from(error).message }, 'reports ended');
      });
      if (direct.trust) void tellTrust(link, direct.trust, clock, log);
    },
  });
  const machines = new Machines({
    registry,
    links,
    history,
    execs,
    changes,
    gateway,
    clock,
    log,
    audit,
    paths,
    controllerId,
    controllerKey: identity.publicKey,
    address: () => direct.configured(),
    bundleDir: import.meta.dirname,
  });
  const direct = new Direct({
    clock,
    random: Math.random,
    log,
    settings: join(paths.config, 'direct.json'),
    certificate: join(paths.config, 'certificate.json'),
    full: isShortOfDescriptors,
    onUpgrade: (...upgrade) => gateway.upgrade(...upgrade),
    onRequest: (request, response) => api.server.emit('request', request, response),
    announce: (trust) => announceTrust(links, trust, clock, log),
    switched: (pin) => void noteSelf('controller.certificate', { pin }),
  });
  const status = (): ControllerStatus => ({
    running: true,
    pid: process.pid,
    version: controllerVersion,
    build: controllerBuild,
    socket: paths.socket,
    started_at: startedAt,
    machines_connected: links.connected().length,
    ...direct.status(),
  });
  const payloads = new Payloads({
    runtimes: ownRuntimes,
    entries: new StoreEntries(),
    bundle: bundleFiles(import.meta.dirname),
    cache: join(paths.cache, 'join'),
  });
  const invitations = new Invitations({
    registry,
    links,
    tokens: joinTokens,
    payloads,
    clock,
    controllerId,
    controllerKey: identity.publicKey,
    address: () => direct.address(),
  });
  const api = createApi(
    {
      execs,
      files: new Files({ registry, links }),
      sync: new Sync({ registry, links }),
      projects,
      git: new Git({ registry, links }),
      starts: new Starts(execs, audit, projects),
      machines,
      prompts: new Prompts(clock),
      invitations,
      downloads: new Downloads(invitations, joinTokens, payloads),
      audit,
      tokens,
      direct,
      clock,
      status,
      stop: () => stopping.abort(),
    },
    controllerBuild,
    log,
    {
      authenticate: (token, socket) => tokens.authenticate(token, socket),
      hosts: () => direct.hosts(),
    },
  );
  const agents = await listenPrivately(paths.agentSocket, (socket) =>
    gateway.accept(socket, { via: 'local', machine: 'local' }),
  );
  await api.ready();
  await direct.open();
  if (serves && Object.keys(serves).length > 0) await direct.configure(serves);
  const callers = await listenPrivately(paths.socket, (socket) => {
    arrivedLocally(socket);
    if (isShortOfDescriptors()) refuseForDescriptors(socket, controllerBuild);
    else api.server.emit('connection', socket);
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stopping.abort());
  process.on('SIGHUP', () => undefined);
  log.info(
    { version: controllerVersion, build: controllerBuild, socket: paths.socket },
    'controller started',
  );
  machines.reopenAll();
  if (serves) process.stdout.write(`${JSON.stringify({ ok: true, ...status() })}\n`);

  if (!stopping.signal.aborted) await once(stopping.signal, 'abort');
  log.info('controller stopping');
  // New callers are refused first, so that whoever starts the next controller finds the socket free.
  direct.stop();
  await callers.close();
  await agents.close();
  await machines.close();
  links.closeAll();
  gateway.close();
  await Promise.race([
    api.close(),
    new Promise((resolve) => clock.setTimer(drainMs, () => resolve(undefined))),
  ]);
  direct.close();
  await tokens.close();
  await noteSelf('controller.stop', { pid: process.pid });
  await audit.close();
  history.close();
  log.info('controller stopped');
  logFile.close();
  lock.release();
  // ssh2 and tunnels can hold sockets open; everything of ours is closed.
  process.exit(0);
}
