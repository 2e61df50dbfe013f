import { access } from 'node:fs/promises';
import type { Clock } from '@codex-remote/protocol/wire';
import { type HostKeyEvent, HostKeyPolicy } from './host-key-policy.ts';
import type { SshEnvironment } from './openssh.ts';
import type { Ask } from './question.ts';
import type { ResolvedHost } from './resolve.ts';
import { connectSsh2 } from './ssh2-transport.ts';
import { connectSystem } from './system-transport.ts';
import type { HostTransport } from './transport.ts';

export interface OpenOptions {
  readonly clock: Clock;
  readonly environment: SshEnvironment;
  /** The user's choice; absent = ssh2, unless the configuration asks for what only the system's `ssh` can do. */
  readonly transport?: 'ssh2' | 'system';
  /** SHA256:… that the user accepts for this host. */
  readonly acceptHostKey?: string;
  /** Hears of host keys that are refused or stored. */
  readonly onHostKey?: (event: HostKeyEvent) => void;
  readonly timeoutMs?: number;
  /** Where a person can be asked; the system's `ssh` asks nobody. */
  readonly ask?: Ask;
  /** Gives the attempt up, with `cancelled`. */
  readonly signal?: AbortSignal;
}

/** Connects to a resolved host. Throws `ssh_unreachable`, `ssh_auth_failed`, `host_key_unknown`, `host_key_changed`, `ssh_config_invalid`. */
export async function openTransport(host: ResolvedHost, options: OpenOptions): Promise<HostTransport> {
  const kind = options.transport ?? ((await needsSystem(host)) ? 'system' : 'ssh2');
  return kind === 'system' ? connectSystem(host, options) : connectSsh2(host, options);
}

/** True when the configuration of the host or of a hop asks for what ssh2 has not. */
export async function needsSystem(host: ResolvedHost): Promise<boolean> {
  for (const hop of [...host.jumps, host]) {
    if (hop.beyondUs.length > 0) return true;
    // OpenSSH takes the certificate beside a key by itself.
    for (const path of hop.identityFiles) if (await readable(`${path}-cert.pub`)) return true;
    if ((await HostKeyPolicy.read(hop)).onlyAuthorities) return true;
  }
  return false;
}

function readable(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
