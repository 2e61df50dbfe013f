import type { ControllerStatus } from '@codex-remote/protocol/schema';
import type { ApiCall, ApiContext } from './context.ts';

export function controllerStatus(context: ApiContext, _call: ApiCall): ControllerStatus {
  return context.status();
}

export function stopController(context: ApiContext, _call: ApiCall): { stopping: true; pid: number } {
  context.stop();
  return { stopping: true, pid: process.pid };
}
