import {
  type MachineCheck,
  type MachineDownResult,
  type MachineView,
  machineAdd,
  machineUp as machineUpRequest,
  sshContext,
} from '@codex-remote/protocol/schema';
import { z } from 'zod';
import type { ApiCall, ApiContext } from './context.ts';
import { machineParams } from './query.ts';
import type { RecordResponse } from './record-response.ts';

export function listMachines({ machines }: ApiContext, _call: ApiCall): { machines: MachineView[] } {
  return { machines: machines.list() };
}

export function addMachine({ machines }: ApiContext, call: ApiCall): Promise<MachineView> {
  return machines.add(machineAdd.parse(call.body));
}

export function showMachine({ machines }: ApiContext, call: ApiCall): MachineView {
  return machines.show(machineParams.parse(call.params).name);
}

export async function removeMachine({ machines }: ApiContext, call: ApiCall): Promise<{ removed: true }> {
  await machines.remove(machineParams.parse(call.params).name);
  return { removed: true };
}

export function checkMachine({ machines }: ApiContext, call: ApiCall): Promise<MachineCheck> {
  return machines.check(
    machineParams.parse(call.params).name,
    sshContext.parse(call.body ?? {}),
    call.signal,
  );
}

/** The work goes on when the caller goes away; another `up` attaches to it. */
export async function machineUp(
  { machines }: ApiContext,
  call: ApiCall,
  response: RecordResponse,
): Promise<void> {
  const { name } = machineParams.parse(call.params);
  const up = await machines.up(name, machineUpRequest.parse(call.body ?? {}), (stage) => {
    void response.event({ stage }).catch(() => undefined);
  });
  await response.event({ up });
}

export function machineDown({ machines }: ApiContext, call: ApiCall): Promise<MachineDownResult> {
  const { purge } = z.strictObject({ purge: z.boolean().default(false) }).parse(call.body ?? {});
  return machines.down(machineParams.parse(call.params).name, purge);
}
