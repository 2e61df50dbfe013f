import type { PolicyChange, PolicyView, QueueView } from '@codex-remote/protocol/schema';
import { usage } from '../../table/bind.ts';
import { command } from '../../table/command.ts';
import { flagSwitch, many, one } from '../../table/flag.ts';
import { connectWait, defaultConnectWaitMs, machineFlag } from '../../table/shared.ts';
import * as read from '../../table/values.ts';
import { machineOf } from '../exec/address.ts';
import { textOf } from '../exec/render.ts';
import { policyText, queueText } from './show-text.ts';

const modes = ['full', 'read-only', 'allow'] as const;

export const machineSet = command({
  name: 'machine set',
  summary: 'Set what may be started on a machine, and how many execs of a queue run at once.',
  description:
    'Queues: kept by the machine, which must be connected; 0 lets nothing more start. A policy binds new execs: what was accepted runs. The agent takes a narrower one at once, a wider one from machine up only.',
  flags: {
    machine: machineFlag,
    queue: many(read.queueSetting, 'NAME=N', 'so many of this queue at once; may be repeated'),
    policy: one(read.oneOf(modes), 'MODE', 'full, read-only (nothing new), or allow (what --allow says)'),
    allow: many(read.nonEmpty, 'PATTERN', "words of argv: 'make test ...', * within a word; or cmd:TEXT"),
    'allow-cwd': many(read.nonEmpty, 'DIR', 'a directory that --cwd may name'),
    'allow-env': many(read.nonEmpty, 'NAME', 'a variable that --env may set'),
    'require-label': flagSwitch('every exec has a --label'),
    'no-require-label': flagSwitch('execs need no --label'),
    'connect-wait': connectWait,
  },
  positional: 'machine',
  examples: [
    ['one job per GPU', 'machine set -m local --queue gpu=2'],
    [
      'only tests, each said what for',
      "machine set local --policy allow --allow 'make test ...' --require-label",
    ],
    ['everything again', 'machine set local --policy full --no-require-label'],
  ],
  async run(values, { client, env }) {
    const machine = machineOf('machine set', values.machine, env);
    if (values['require-label'] && values['no-require-label'])
      throw usage({ name: 'machine set' }, '--require-label and --no-require-label exclude each other');
    const required = values['require-label'] ? true : values['no-require-label'] ? false : undefined;
    const change: PolicyChange = {
      ...(values.policy !== undefined && { policy: values.policy }),
      ...(values.allow && { allow: [...values.allow] }),
      ...(values['allow-cwd'] && { allow_cwd: [...values['allow-cwd']] }),
      ...(values['allow-env'] && { allow_env: [...values['allow-env']] }),
      ...(required !== undefined && { require_label: required }),
    };
    const hasPolicy = Object.keys(change).length > 0;
    if (values.queue === undefined && !hasPolicy)
      throw usage(
        { name: 'machine set' },
        'machine set needs something to set: --policy MODE or --queue NAME=N',
      );
    const wait = values['connect-wait'] ?? defaultConnectWaitMs;
    // The policy first: where it is refused, nothing is set.
    const policy = hasPolicy ? await client.setPolicy(machine, change) : undefined;
    const queues = values.queue && (await client.setQueues(machine, Object.fromEntries(values.queue), wait));
    return {
      value: { ok: true, machine, ...(policy && policyAnswer(machine, policy)), ...(queues && { queues }) },
      exit: 0,
      human: () => textOf(`${machine}:`, ...policyLines(machine, policy), ...queueLines(queues)),
    };
  },
});

/** What is left to do: an agent that does not enforce it, or still lets less start. */
function policyAnswer(machine: string, view: PolicyView) {
  const rest = view.enforced_by === 'controller' || view.agent_policy !== undefined;
  return {
    ...view,
    next_action: rest ? 'fix-config' : 'done',
    ...(rest && !view.invited && { next_command: `codex-remote machine up -m ${machine}` }),
  };
}

function policyLines(machine: string, view: PolicyView | undefined): string[] {
  if (!view) return [];
  const { policy, enforced_by, agent_policy } = view;
  return [
    `  policy ${policyText(policy)}`,
    ...(enforced_by === 'controller'
      ? [`  this controller alone refuses what is not in it; ${widening(machine, view)} tells its agent`]
      : []),
    ...(enforced_by === 'agent' && agent_policy
      ? [`  its agent keeps ${policyText(agent_policy)} until ${widening(machine, view)}`]
      : []),
  ];
}

/** What gives an agent a policy that is wider than the one it has. */
function widening(machine: string, { invited }: PolicyView): string {
  return invited ? 'agent policy, on the machine,' : `codex-remote machine up -m ${machine}`;
}

function queueLines(queues: readonly QueueView[] | undefined): string[] {
  return (queues ?? []).map((queue) => `  queue ${queue.queue}: ${queueText(queue)}`);
}
