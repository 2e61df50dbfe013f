import type { SshContext } from '@codex-remote/protocol/schema';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import type { MachineRecord, SshMemory } from '../registry/registry.ts';
import type { HostKeyEvent } from '../ssh/host-key-policy.ts';
import { openTransport } from '../ssh/open-transport.ts';
import type { SshEnvironment } from '../ssh/openssh.ts';
import { isConfigured, resolveHost } from '../ssh/resolve.ts';
import type { HostTransport } from '../ssh/transport.ts';

/** What a request says of SSH, completed by what last worked for the machine. */
export function completeContext(context: SshContext, memory: SshMemory): SshContext {
  return { ...memory, ...context };
}

export function memoryOf(context: SshContext): SshMemory {
  return {
    ...(context.auth_sock === undefined ? {} : { auth_sock: context.auth_sock }),
    ...(context.config_path === undefined ? {} : { config_path: context.config_path }),
    ...(context.transport === undefined ? {} : { transport: context.transport }),
  };
}

export function environmentOf(context: SshContext): SshEnvironment {
  return {
    env: process.env,
    ...(context.auth_sock === undefined ? {} : { authSock: context.auth_sock }),
    ...(context.config_path === undefined ? {} : { configPath: context.config_path }),
  };
}

/** What SSH is asked to reach for a machine: its `--ssh`, else its name as a Host of the ssh config. */
export function sshTarget(machine: Pick<MachineRecord, 'name' | 'ssh'>): string {
  return machine.ssh ?? machine.name;
}

/** Whether the user's ssh config says something about the name. A config that cannot be read says nothing here. */
export function isSshHost(name: string, context: SshContext): Promise<boolean> {
  return isConfigured(name, environmentOf(context)).catch((error: unknown) => {
    if (RemoteError.from(error).code === 'ssh_config_invalid') return false;
    throw error;
  });
}

/** A fresh connection. Throws the `ssh_…` and `host_key_…` errors. */
export async function connectSsh(
  target: string,
  context: SshContext,
  clock: Clock,
  signal: AbortSignal,
  onHostKey: (event: HostKeyEvent) => void,
): Promise<HostTransport> {
  const environment = environmentOf(context);
  const host = await resolveHost(target, environment);
  return openTransport(host, {
    clock,
    environment,
    signal,
    onHostKey,
    ...(context.transport === undefined ? {} : { transport: context.transport }),
    ...(context.accept_host_key === undefined ? {} : { acceptHostKey: context.accept_host_key }),
  });
}
