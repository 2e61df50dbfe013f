import { join, normalize } from 'node:path';

/** Where CLI and controller keep their things. Folders are made 0700 by whoever first needs them. */
export interface ControllerPaths {
  /** Registry and keys. */
  readonly config: string;
  /** History, logs, the local machine's agent. */
  readonly state: string;
  /** Caches that may be deleted at any time. */
  readonly cache: string;
  /** Sockets. */
  readonly runtime: string;
  /** HTTP API for the CLI. */
  readonly socket: string;
  /** Gateway for the agent of the machine `local`. */
  readonly agentSocket: string;
  /** The controller's own log. */
  readonly log: string;
}

/** `sun_path` holds 108 bytes on Linux and 104 on macOS (unix(7)); longer paths fail to bind. */
export const maxSocketPathBytes = 100;

type Env = Readonly<Record<string, string | undefined>>;

/**
 * One folder under `CODEX_REMOTE_HOME` when it is set, else the XDG base directories. Put together by hand: nine calls of
 * `join` in a process that has just begun take 0.7 ms.
 */
export function controllerPaths(env: Env, uid: number = process.getuid?.() ?? 0): ControllerPaths {
  const own = env.CODEX_REMOTE_HOME;
  const home = env.HOME || homeOfUser();
  const xdg = (name: string, fallback: string) =>
    `${withoutSlash(env[name] || `${home}/${fallback}`)}/codex-remote`;
  const base = own ? withoutSlash(own) : undefined;
  const config = base !== undefined ? `${base}/config` : xdg('XDG_CONFIG_HOME', '.config');
  const state = base !== undefined ? `${base}/state` : xdg('XDG_STATE_HOME', '.local/state');
  const cache = base !== undefined ? `${base}/cache` : xdg('XDG_CACHE_HOME', '.cache');
  const wanted =
    base !== undefined
      ? `${base}/run`
      : env.XDG_RUNTIME_DIR
        ? `${withoutSlash(env.XDG_RUNTIME_DIR)}/codex-remote`
        : `${state}/run`;
  const runtime = shortSocketFolder(wanted, uid);
  return {
    config,
    state,
    cache,
    runtime,
    socket: `${runtime}/api.sock`,
    agentSocket: `${runtime}/agent.sock`,
    log: `${state}/controller.log`,
  };
}

/**
 * A folder for sockets: `wanted`, or a shorter one of the same meaning where a socket in it would have too long a path.
 * Under `base`, if that is given and short enough; the last resort is in /tmp, which some systems clean by age.
 */
export function shortSocketFolder(wanted: string, uid: number, base?: string): string {
  if (holdsSockets(wanted)) return wanted;
  // Loaded only here: it takes 6 ms of a short command.
  const { createHash } = process.getBuiltinModule('node:crypto');
  const name = createHash('sha256').update(wanted).digest('hex');
  const nearer = base === undefined ? undefined : join(base, 'run', name.slice(0, 8));
  if (nearer !== undefined && holdsSockets(nearer)) return nearer;
  return join('/tmp', `codex-remote-${uid}`, name.slice(0, 16));
}

function holdsSockets(folder: string): boolean {
  return Buffer.byteLength(`${folder}/t-0123456789abcdef.sock`) <= maxSocketPathBytes;
}

function withoutSlash(path: string): string {
  const whole = normalize(path);
  return whole.endsWith('/') ? whole.slice(0, -1) : whole;
}

/** Where the agent keeps its things on a machine, unless `machine add --agent-home` says otherwise. */
export function agentBase(env: Env): string {
  if (env.CODEX_REMOTE_AGENT_HOME) return env.CODEX_REMOTE_AGENT_HOME;
  const home = env.HOME || homeOfUser();
  return join(env.XDG_DATA_HOME || join(home, '.local/share'), 'codex-remote-agent');
}

/** Loaded only where `HOME` is not set. */
function homeOfUser(): string {
  return process.getBuiltinModule('node:os').userInfo().homedir;
}
