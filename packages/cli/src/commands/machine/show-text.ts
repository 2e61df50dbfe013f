import type { MachinePolicy, MachineView, QueueView } from '@codex-remote/protocol/schema';
import { textOf } from '../exec/render.ts';

export function connectionText({ connected, connection, installed, invited }: MachineView): string {
  if (connected) return connection ?? 'connected';
  if (installed) return 'away';
  return invited ? 'invited, has not joined' : 'not set up';
}

/** `detached; survives logout yes, reboot no, crash yes; a process of its own …` */
function serviceText(service: MachineView['service']): string | undefined {
  if (service === undefined) return undefined;
  const survives = Object.entries(service.survives).map(([what, answer]) => `${what} ${answer}`);
  return `${service.kind}; survives ${survives.join(', ')}; ${service.note}`;
}

/** `1 at once; 1 runs, 2 wait` */
export function queueText({ concurrency, running, queued }: QueueView): string {
  return `${concurrency === 0 ? 'paused' : `${concurrency} at once`}; ${running} running, ${queued} queued`;
}

/** `allow: make test ... | ls; directories /srv; with a label` */
export function policyText({ mode, allow, cwd, env, require_label }: MachinePolicy): string {
  const lists: [string, readonly string[] | undefined][] = [
    ['directories', cwd],
    ['variables', env],
  ];
  return [
    mode === 'allow' ? `allow: ${(allow ?? []).join(' | ') || 'nothing'}` : mode,
    ...lists.flatMap(([name, list]) => (list ? [`${name} ${list.join(' ')}`] : [])),
    ...(require_label ? ['with a label'] : []),
  ].join('; ');
}

export function machineText(view: MachineView): string {
  const lines = [`${view.machine}: ${connectionText(view)}`];
  const facts: [string, string | number | undefined][] = [
    ['ssh', view.ssh],
    ['connected since', view.connected_since],
    ['last seen', view.last_seen_at],
    ['another agent with its key refused', view.duplicate_agent_at],
    ['agent', view.agent_version],
    ['agent home', view.agent_home],
    ['service', serviceText(view.service)],
    ['policy', view.policy && policyText(view.policy)],
    ['enforced by', view.policy_enforced_by],
    ['policy of the agent', view.agent_policy && policyText(view.agent_policy)],
    ['running', view.running],
    ['queued', view.queued || undefined],
    ...(view.queues ?? []).map((queue): [string, string] => [`queue ${queue.queue}`, queueText(queue)]),
    ['added', view.added_at],
  ];
  for (const [name, value] of facts) if (value !== undefined) lines.push(`  ${name}: ${value}`);
  return textOf(...lines);
}
