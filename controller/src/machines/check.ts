import {
  localMachine,
  type MachineCheck,
  ownCapabilities,
  type SshContext,
} from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { lackOf } from '../execs/agent-call.ts';
import { comesByItself } from '../registry/joined.ts';
import { notBroughtUp } from '../registry/not-brought-up.ts';
import type { MachineRecord } from '../registry/registry.ts';
import { checkSsh } from '../ssh/index.ts';
import { runCanary } from './canary.ts';
import { hostKeyNotes } from './host-key-notes.ts';
import type { MachineWorld } from './machines.ts';
import { connectSsh, sshTarget } from './ssh-access.ts';

/**
 * Looks at both ways to a machine, side by side: SSH (over the connection of its tunnel where there is one), and a real
 * exec through its agent. What is wrong is in the answer, not thrown.
 */
export async function checkMachine(
  world: MachineWorld,
  machine: MachineRecord,
  context: SshContext,
  signal: AbortSignal,
): Promise<MachineCheck> {
  const registered = world.registry.get(machine.name) !== undefined;
  const [ssh, exec] = await Promise.all([
    checkWayIn(world, machine, context, signal),
    checkExec(world, machine, registered, signal),
  ]);
  if (signal.aborted) throw new RemoteError('cancelled', 'the caller went away');
  const checkedAt = new Date(world.clock.wall()).toISOString();
  if (registered && ssh) {
    await world.registry.update(machine.name, (record) => {
      record.ssh_ok = ssh.error === undefined;
      record.ssh_checked_at = checkedAt;
    });
  }
  const live = world.links.of(machine.name).live;
  // An agent of an older release runs what it knows: it is ready, and what it lacks is told beside that.
  const lack = lackOf(world.links.of(machine.name), ownCapabilities);
  const error = exec.error && ssh?.error ? ssh.error : (exec.error ?? lack);
  return {
    machine: machine.name,
    ssh_ok: ssh ? ssh.error === undefined : null,
    ...(ssh ? { ssh_checked_at: checkedAt } : {}),
    daemon_ok: exec.error === undefined,
    ...(exec.error ? {} : { latency_ms: Math.round(exec.ms * 10) / 10 }),
    ...(live ? { connection: live.info.connection, agent_version: live.info.hello.agent_version } : {}),
    ...(exec.shell === undefined ? {} : { shell: exec.shell }),
    registered,
    checked_at: checkedAt,
    ...(error ? { error: error.toWire() } : {}),
    ...(exec.warnings.length > 0 ? { warnings: [...exec.warnings] } : {}),
  };
}

async function checkWayIn(
  world: MachineWorld,
  machine: MachineRecord,
  context: SshContext,
  signal: AbortSignal,
): Promise<{ error?: RemoteError } | undefined> {
  if (machine.name === localMachine && machine.ssh === undefined) return undefined;
  if (comesByItself(machine)) return undefined;
  const live = world.tunnels.get(machine.name)?.transport;
  const { error } = await checkSsh({
    clock: world.clock,
    ...(live === undefined ? {} : { live }),
    connect: () =>
      connectSsh(sshTarget(machine), context, world.clock, signal, hostKeyNotes(world.audit, machine.name)),
  });
  return error ? { error: error.with({ machine: machine.name }) } : {};
}

/** A machine that was there a moment ago, or whose controller has just started, gets so long to come back. */
const reconnectMs = 5_000;

interface ExecCheck {
  readonly ms: number;
  readonly shell?: string;
  readonly warnings: readonly string[];
  readonly error?: RemoteError;
}

async function checkExec(
  world: MachineWorld,
  machine: MachineRecord,
  registered: boolean,
  signal: AbortSignal,
): Promise<ExecCheck> {
  try {
    if (!registered || !machine.installation) throw notBroughtUp(machine);
    const link = world.links.of(machine.name);
    await link.session(link.patience(reconnectMs), signal);
    const [{ ms, warnings }, info] = await Promise.all([
      runCanary({
        execs: world.execs,
        changes: world.changes,
        clock: world.clock,
        machine: machine.name,
        signal,
      }),
      world.execs.info(machine.name, signal),
    ]);
    return { ms, warnings, shell: info.shell };
  } catch (error) {
    return { ms: 0, warnings: [], error: RemoteError.from(error).with({ machine: machine.name }) };
  }
}
