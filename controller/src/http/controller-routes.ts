import type { ControllerStatus } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import { seenBy } from '../access/scopes.ts';
import type { ApiCall, ApiContext } from './context.ts';

/** Who is elsewhere is not told of paths on this host, nor of machines that it may not see. */
export function controllerStatus(context: ApiContext, { principal }: ApiCall): ControllerStatus {
  const { socket, ...status } = context.status();
  if (principal.kind === 'local') return { ...status, ...(socket !== undefined && { socket }) };
  const seen = seenBy(principal);
  const connected = context.machines.list().filter((view) => view.connected && seen.has(view.machine));
  return { ...status, machines_connected: connected.length };
}

/** With `build` only a controller of that build stops: of two callers that want it replaced, one is late. */
export function stopController(context: ApiContext, call: ApiCall): { stopping: true; pid: number } {
  const { build } = z.strictObject({ build: z.string().optional() }).parse(call.body ?? {});
  const status = context.status();
  if (build !== undefined && build !== status.build) {
    throw new RemoteError('conflict', `conflict: the controller is of build ${status.build}, not ${build}`);
  }
  context.stop();
  return { stopping: true, pid: status.pid };
}
