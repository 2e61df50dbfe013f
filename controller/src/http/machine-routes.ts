import {
  type MachineCheck,
  type MachineDownResult,
  type MachineView,
  machineAdd,
  machineUp as machineUpRequest,
  type PolicyView,
  type Prompt,
  policyChange,
  promptAnswer,
  type QueuesReply,
  queuesRequest,
  type Stage,
  sshContext,
} from '@codex-remote/protocol/schema';
import { z } from 'zod';
import { reachOf } from '../access/scopes.ts';
import { audited, type Intent } from '../audit/audited.ts';
import { type ApiCall, type ApiContext, auditCaller } from './context.ts';
import { machineParams, queryCount } from './query.ts';
import type { RecordResponse } from './record-response.ts';

export function listMachines({ machines }: ApiContext, call: ApiCall): { machines: MachineView[] } {
  const seen = reachOf(call.principal, 'machines:read');
  return { machines: machines.list().filter(({ machine }) => seen.has(machine)) };
}

export function addMachine({ machines, audit }: ApiContext, call: ApiCall): Promise<MachineView> {
  const machine = machineAdd.parse(call.body);
  const facts = { ...(machine.ssh !== undefined && { ssh: machine.ssh }) };
  return audited(audit, { ...act(call, 'machine.add', machine.name), facts }, () => machines.add(machine));
}

export function showMachine({ machines }: ApiContext, call: ApiCall): Promise<MachineView> {
  return machines.showWithQueues(machineParams.parse(call.params).name, call.signal);
}

export async function setMachineQueues({ machines, audit }: ApiContext, call: ApiCall): Promise<QueuesReply> {
  const { name } = machineParams.parse(call.params);
  const query = z.object({ connect_wait_ms: queryCount.default(0) }).parse(call.query);
  const { concurrency } = queuesRequest.parse(call.body);
  const facts = Object.fromEntries(Object.entries(concurrency).map(([queue, n]) => [`queue.${queue}`, n]));
  const queues = await audited(audit, { ...act(call, 'machine.set', name), facts }, () =>
    machines.setQueues(name, concurrency, query.connect_wait_ms, call.signal),
  );
  return { queues };
}

/** Before it is in force it is on disk who changed it, and to what. */
export function setMachinePolicy({ machines, audit }: ApiContext, call: ApiCall): Promise<PolicyView> {
  const { name } = machineParams.parse(call.params);
  const change = policyChange.parse(call.body);
  return audited(
    audit,
    { ...act(call, 'machine.set', name), facts: { policy: JSON.stringify(change) } },
    () => machines.setPolicy(name, change, call.signal),
    ({ policy, enforced_by }) => ({ result: 'done', facts: { policy: JSON.stringify(policy), enforced_by } }),
  );
}

export async function removeMachine(
  { machines, audit }: ApiContext,
  call: ApiCall,
): Promise<{ removed: true }> {
  const { name } = machineParams.parse(call.params);
  await audited(audit, act(call, 'machine.remove', name), () => machines.remove(name));
  return { removed: true };
}

/** Only who could read our files says how SSH is to be made: its paths and what it accepts are this host's. */
export function checkMachine({ machines }: ApiContext, call: ApiCall): Promise<MachineCheck> {
  const context = call.principal.kind === 'local' ? sshContext.parse(call.body ?? {}) : {};
  return machines.check(machineParams.parse(call.params).name, context, call.signal);
}

/** The work goes on when the caller goes away; another `up` attaches to it. */
export async function machineUp(
  { machines, prompts, audit }: ApiContext,
  call: ApiCall,
  response: RecordResponse,
): Promise<void> {
  const { name } = machineParams.parse(call.params);
  const request = machineUpRequest.parse(call.body ?? {});
  const tell = (value: { stage: Stage } | { prompt: Prompt }): void => {
    void response.event(value).catch(() => undefined);
  };
  const facts = {
    ...(request.ssh !== undefined && { ssh: request.ssh }),
    ...(request.accept_host_key !== undefined && { accept_host_key: request.accept_host_key }),
  };
  const up = await audited(audit, { ...act(call, 'machine.up', name), facts }, () =>
    machines.up(name, request, {
      onStage: (stage) => tell({ stage }),
      ...(request.interactive && {
        ask: (question) => prompts.ask(question, (prompt) => tell({ prompt }), call.signal),
      }),
    }),
  );
  await response.event({ up });
}

export function answerPrompt({ prompts }: ApiContext, call: ApiCall): { answered: true } {
  const { id } = z.object({ id: z.string().max(64) }).parse(call.params);
  prompts.answer(id, promptAnswer.parse(call.body).answer);
  return { answered: true };
}

export function machineDown({ machines, audit }: ApiContext, call: ApiCall): Promise<MachineDownResult> {
  const { purge } = z.strictObject({ purge: z.boolean().default(false) }).parse(call.body ?? {});
  const { name } = machineParams.parse(call.params);
  return audited(audit, { ...act(call, 'machine.down', name), facts: { purge } }, () =>
    machines.down(name, purge),
  );
}

function act(call: ApiCall, verb: string, machine: string): Intent {
  return { ...auditCaller(call), verb, machine };
}
