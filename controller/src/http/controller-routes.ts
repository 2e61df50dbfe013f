import type { ControllerStatus } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import type { ApiCall, ApiContext } from './context.ts';

export function controllerStatus(context: ApiContext, _call: ApiCall): ControllerStatus {
  return context.status();
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
