import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hostId, writeDurableSync } from '@codex-remote/platform';
import { type AgentService, agentEndpoint, machineName } from '@codex-remote/protocol/schema';
import { type ErrorCode, RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import { JoinTokenFile } from '../connect/join-token-file.ts';
import { type LinkState, readLinkState } from '../connect/link-state.ts';
import { proxyFor } from '../connect/proxy.ts';
import { type AgentHome, agentHome } from '../home.ts';
import type { ServiceHost } from '../service/host.ts';
import { runningDaemon } from './daemon-state.ts';
import { initAgent } from './init.ts';
import { startAgent } from './start.ts';
import { stopAgent } from './stop.ts';

/** What an invitation says, but for its token; and where agents live on this host. */
const invitation = z.strictObject({
  base: z.string().refine(isAbsolute, 'absolute'),
  machine: machineName,
  controller_id: z.string().regex(/^[a-z0-9]{8,64}$/),
  controller_key: z.string().length(43),
  url: z.url({ protocol: /^wss$/ }),
  certificates: z.array(z.string()).min(1),
  spki_sha256: z.array(z.string()).min(1),
  /** When its token is over, for messages: the controller's clock decides. */
  expires_at: z.iso.datetime(),
});
type Invitation = z.infer<typeof invitation>;

const maxInvitationBytes = 64 * 1024;

export interface JoinOptions {
  readonly bundle: string;
  readonly version: string;
  readonly host: ServiceHost;
  readonly dialInMs?: number;
}

export interface JoinAnswer {
  readonly machine: string;
  /** Nothing was to be done: this host's agent is connected to that controller. */
  readonly already_joined: boolean;
  readonly agent_version: string;
  readonly home: string;
  readonly service?: AgentService;
  readonly warnings: readonly string[];
}

/** From the daemon's start to its welcome; several attempts, each of at most 10 s. */
const dialInMs = 30_000;
const pollMs = 20;
/** What another attempt does not change. */
const final: readonly ErrorCode[] = [
  'unauthorized',
  'certificate_mismatch',
  'agent_outdated',
  'duplicate_agent',
];

/**
 * Makes this host the machine of an invitation: home, key and config, the token beside them until the first welcome, and a
 * daemon that dials. Resolves when it is connected. When that fails nothing of it runs on, and an agent that was there
 * before is as it was. `input`: a line with the
 * token, one with the base of agents here, then JSON. Throws what keeps it out, with what to do.
 */
export async function joinController(input: string, options: JoinOptions): Promise<JoinAnswer> {
  const { token, wanted } = parseInvitation(input);
  const { bundle, version, host } = options;
  const home = agentHome(join(wanted.base, hostId(), wanted.controller_id));
  const before = readText(home.config);
  const link = liveLink(home);
  if (before !== undefined && link?.connected) {
    const { machine } = z.object({ machine: z.string() }).parse(JSON.parse(before));
    if (machine !== wanted.machine) throw joinedAs(machine, wanted.machine);
    const started = await startAgent({ home, bundle, host, boot: false });
    return answerOf(wanted, home, version, true, started);
  }
  const file = new JoinTokenFile(home.joinToken);
  const proxy = proxyFor(new URL(wanted.url.replace(/^wss:/, 'https:')), host.env);
  const { url, certificates, spki_sha256 } = wanted;
  const endpoint = agentEndpoint.parse({ kind: 'wss', url, certificates, spki_sha256, proxy });
  const { base, machine, controller_id, controller_key } = wanted;
  initAgent({ base, machine, controller_id, controller_key, endpoints: [endpoint] }, version);
  file.write(token);
  try {
    // One that runs has read another config, or failed with it.
    await stopAgent(home, host);
    const started = await startAgent({ home, bundle, host, boot: false });
    await awaitDialIn(home, wanted, started.pid, options.dialInMs ?? dialInMs);
    return answerOf(wanted, home, version, false, started);
  } catch (error) {
    await stopAgent(home, host);
    file.erase();
    if (before !== undefined) {
      writeDurableSync(home.config, before);
      if (link) await startAgent({ home, bundle, host, boot: false });
    }
    throw error;
  }
}

/** For a person at a terminal. */
export function joinText({ machine, already_joined, service, warnings }: JoinAnswer): string {
  return [
    already_joined
      ? `This host is joined as ${machine} already, and connected.`
      : `This host is joined as ${machine}, and connected.`,
    ...(service === undefined ? [] : [`Kept by: ${service.kind}; ${service.note}`]),
    ...warnings.map((warning) => `warning: ${warning}`),
    `Where the controller is: codex-remote exec run -m ${machine} -- uname -a`,
  ].join('\n');
}

/** Parameters from a file, which nobody else may read: it has the token in it. Throws `usage`, `state_unusable`. */
export function readInvitationFile(path: string): string {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const errno = (error as NodeJS.ErrnoException).code ?? 'unknown';
    throw new RemoteError('usage', `the invitation ${path} cannot be read (${errno})`);
  }
  try {
    const { mode, uid } = fstatSync(fd);
    if ((mode & 0o077) !== 0 || uid !== process.getuid?.())
      throw new RemoteError('state_unusable', `others can read ${path}, which has a token in it`, {
        hint: `chmod 600 ${path}`,
      });
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

function parseInvitation(input: string): { token: string; wanted: Invitation } {
  const [token = '', base = '', ...rest] = input.split('\n');
  try {
    if (input.length > maxInvitationBytes || !/^[a-z0-9]+\.[A-Za-z0-9_-]+$/.test(token)) throw new Error();
    return { token, wanted: invitation.parse({ base, ...JSON.parse(rest.join('\n')) }) };
  } catch {
    // Without the cause: it could repeat the token.
    throw new RemoteError('usage', 'this is no invitation, or not a whole one', {
      hint: 'paste the line of `codex-remote machine invite` as it is',
    });
  }
}

async function awaitDialIn(home: AgentHome, wanted: Invitation, pid: number, limitMs: number): Promise<void> {
  const until = performance.now() + limitMs;
  for (let last: RemoteError | undefined; ; await sleep(pollMs)) {
    const link = readLinkState(home.link);
    if (link?.pid === pid && link.connected) return;
    if (link?.pid === pid) last = link.error ?? last;
    if (last && (final.includes(last.code) || performance.now() > until)) throw explained(last, wanted);
    if (performance.now() > until)
      throw new RemoteError('agent_start_failed', `the agent reached nobody within ${limitMs} ms`, {
        hint: `look at ${home.log}`,
      });
  }
}

/** With what the person who pasted the line can do. */
function explained(error: RemoteError, { machine, url, expires_at }: Invitation): RemoteError {
  const again = `where the controller is: \`codex-remote machine invite -m ${machine}\`, then paste the new line`;
  const { host } = new URL(url);
  switch (error.code) {
    case 'unauthorized':
      if (error.details.hint !== undefined) return error;
      return new RemoteError(
        'unauthorized',
        `unauthorized: the invitation was used by another, was revoked, or is over (it was good until ${expires_at})`,
        { machine, hint: again },
      );
    case 'proxy_failed':
    case 'certificate_mismatch':
      return error;
    case 'agent_outdated':
    case 'duplicate_agent':
      return error.with({ machine, hint: again });
    default:
      return new RemoteError(
        error.code,
        `${host} could not be reached from here: ${error.message}`,
        { hint: `this host must reach ${host}; where a proxy leads out: HTTPS_PROXY=http://proxy:port` },
        error,
      );
  }
}

function joinedAs(machine: string, wanted: string): RemoteError {
  return new RemoteError(
    'conflict',
    `conflict: this host is joined as ${machine} already, and connected; it cannot be ${wanted} too`,
    {
      machine: wanted,
      hint: `use it as ${machine}, or where the controller is: \`codex-remote machine remove ${machine}\`, then paste the line again`,
    },
  );
}

function answerOf(
  { machine }: Invitation,
  home: AgentHome,
  version: string,
  already: boolean,
  started: { readonly service: AgentService; readonly warnings: readonly string[] },
): JoinAnswer {
  return {
    machine,
    already_joined: already,
    agent_version: version,
    home: home.path,
    service: started.service,
    warnings: started.warnings,
  };
}

/** What the daemon that runs now says of its connection. */
function liveLink(home: AgentHome): LinkState | undefined {
  const daemon = runningDaemon(home);
  if (!daemon) return undefined;
  const link = readLinkState(home.link);
  return link?.pid === daemon.pid ? link : { pid: daemon.pid, connected: false };
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
