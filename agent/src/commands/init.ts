import { rmSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import {
  failpoint,
  hostId,
  loadOrCreateIdentity,
  makePrivateDir,
  ProcessTable,
  shortSocketFolder,
  writeDurableSync,
} from '@codex-remote/platform';
import {
  type AgentConfig,
  agentEndpoint,
  type DirectEndpoint,
  directEndpoint,
  machineName,
  machinePolicy,
} from '@codex-remote/protocol/schema';
import { z } from 'zod';
import { type AgentHome, agentHome, readAgentConfig } from '../home.ts';
import { PolicyFile } from '../policy/policy-file.ts';

const request = z.strictObject({
  base: z.string().refine(isAbsolute, 'absolute'),
  machine: machineName,
  controller_id: z.string().regex(/^[a-z0-9]{8,64}$/),
  controller_key: z.string().length(43),
  /** What the machine lets start; absent: as before. */
  policy: machinePolicy.optional(),
  /** `tunnel`: sockets that appear in the run folder. */
  endpoints: z.union([z.literal('tunnel'), z.array(agentEndpoint).min(1)]),
  /** Where the controller can be dialled without a tunnel, when there is none. */
  direct: directEndpoint.optional(),
});

export interface InitAnswer {
  readonly home: string;
  readonly run_dir: string;
  readonly host_id: string;
  readonly boot_id: string;
  readonly agent_key: string;
  readonly version: string;
}

/**
 * Makes the agent's home on this host and its key, writes its config, and says what the controller has to know. The
 * private key is made here and stays here. Safe to repeat: a key that exists is kept.
 */
export function initAgent(input: unknown, version: string): InitAnswer {
  const wanted = request.parse(input);
  const host = hostId();
  const home = agentHome(join(wanted.base, host, wanted.controller_id));
  for (const dir of [wanted.base, join(wanted.base, host), home.path, home.execs]) makePrivateDir(dir);
  const runDir = shortSocketFolder(join(home.path, 'run'), process.getuid?.() ?? 0, wanted.base);
  makeSocketFolder(runDir);
  const config: AgentConfig = {
    version: 1,
    machine: wanted.machine,
    controller_id: wanted.controller_id,
    controller_key: wanted.controller_key,
    host_id: host,
    endpoints: [
      ...(wanted.endpoints === 'tunnel' ? [{ kind: 'tunnel' as const, dir: runDir }] : wanted.endpoints),
      ...(wanted.direct ? [throughProxy(home, wanted.direct)] : []),
    ],
  };
  // Whoever runs this is on the machine: here it may also be widened. Before the config, so that no agent runs without it.
  if (wanted.policy) new PolicyFile(home.policy).replace(wanted.policy);
  failpoint('agent.config.before');
  writeDurableSync(home.config, `${JSON.stringify(config, undefined, 2)}\n`);
  failpoint('agent.config.after');
  // The controller is here, by a way that is verified: what it spoke before does not bind it.
  rmSync(home.protocolFloor, { force: true });
  return {
    home: home.path,
    run_dir: runDir,
    host_id: host,
    boot_id: new ProcessTable().bootId(),
    agent_key: loadOrCreateIdentity(home.key).publicKey,
    version,
  };
}

/** The proxy through which this host dialled the place before: the controller knows nothing of it. */
function throughProxy(home: AgentHome, direct: DirectEndpoint): DirectEndpoint {
  try {
    const before = readAgentConfig(home).endpoints.find(
      (endpoint) => endpoint.kind === 'wss' && endpoint.url === direct.url,
    );
    return before?.kind === 'wss' && before.proxy ? { ...direct, proxy: before.proxy } : direct;
  } catch {
    return direct;
  }
}

/** The run folder and its parent, which is the home, shared by homes, or in /tmp: ours alone, or we refuse. */
function makeSocketFolder(path: string): void {
  makePrivateDir(dirname(path));
  makePrivateDir(path);
}
