import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type AgentConfig, agentConfig } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';

/** The files of one agent, `<base>/<host id>/<controller id>/`. */
export interface AgentHome {
  readonly path: string;
  readonly config: string;
  readonly key: string;
  /** Key of the HMAC by which requests are compared. */
  readonly digestKey: string;
  /** Token of an invitation, from `agent join` to the first welcome. */
  readonly joinToken: string;
  /** The lowest protocol that is spoken to the controller. */
  readonly protocolFloor: string;
  /** How the daemon's connection to the controller stands; informs only. */
  readonly link: string;
  readonly lock: string;
  readonly log: string;
  /** What the running daemon says of itself; informs only, the lock decides. */
  readonly daemon: string;
  /** Pid of the keeper that may start daemons; any other ends when it looks. */
  readonly keeper: string;
  /** What the user wants of the service: kept while the agent is down. */
  readonly wishes: string;
  /** Which runtime and bundle run, and which ran before. */
  readonly versions: string;
  /** What it lets start, see policy/policy-file.ts. */
  readonly policy: string;
  readonly execs: string;
  /** Notes of files that are written for callers. */
  readonly writes: string;
  /** Runtime and bundles, shared by hash between hosts and controllers. */
  readonly store: string;
  readonly base: string;
}

export function agentHome(path: string): AgentHome {
  const base = dirname(dirname(path));
  return {
    path,
    config: join(path, 'config.json'),
    key: join(path, 'key.pem'),
    digestKey: join(path, 'digest.key'),
    joinToken: join(path, 'join.token'),
    protocolFloor: join(path, 'protocol'),
    link: join(path, 'link.json'),
    lock: join(path, 'agent.lock'),
    log: join(path, 'agent.log'),
    daemon: join(path, 'agent.json'),
    keeper: join(path, 'keeper'),
    wishes: join(path, 'service.json'),
    versions: join(path, 'versions.json'),
    policy: join(path, 'policy.json'),
    execs: join(path, 'execs'),
    writes: join(path, 'writes'),
    store: join(base, 'store'),
    base,
  };
}

/** Throws `state_unusable`. */
export function readAgentConfig(home: AgentHome): AgentConfig {
  try {
    return agentConfig.parse(JSON.parse(readFileSync(home.config, 'utf8')));
  } catch (error) {
    throw new RemoteError(
      'state_unusable',
      `the agent's config ${home.config} cannot be read`,
      { hint: '`codex-remote machine up` writes it anew' },
      error,
    );
  }
}
