import { type ControllerStatus, certificateRotation, directChange } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { z } from 'zod';
import { nameOf } from '../access/principal.ts';
import { seenBy } from '../access/scopes.ts';
import type { AuditEntry } from '../audit/entry.ts';
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

/** Whether and where the controller listens for the network. */
export async function changeDirect(context: ApiContext, call: ApiCall): Promise<ControllerStatus> {
  const change = directChange.parse(call.body);
  await context.direct.configure(change);
  const { listen = 'off', public_url = 'none' } = context.direct.status();
  await noteDone(context, call, 'controller.listen', { listen, public_url });
  return controllerStatus(context, call);
}

export async function rotateCertificate(context: ApiContext, call: ApiCall): Promise<ControllerStatus> {
  const { overlap_ms } = certificateRotation.parse(call.body);
  await context.direct.rotate(overlap_ms);
  const { certificate_sha256 = '', next_certificate_sha256 = certificate_sha256 } = context.direct.status();
  await noteDone(context, call, 'controller.rotate-certificate', {
    pin: next_certificate_sha256,
    overlap_ms,
  });
  return controllerStatus(context, call);
}

function noteDone(
  { audit }: ApiContext,
  { principal, source }: ApiCall,
  verb: string,
  facts: AuditEntry['facts'],
): Promise<void> {
  return audit.record({ principal: nameOf(principal), source, verb, result: 'done', facts });
}
