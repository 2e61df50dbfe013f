import { eventField, isObject, oneLine, wrong } from '@codex-remote/client';
import type { MachineUpResult, Prompt, Stage } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { askAtTerminal } from '../../ask.ts';
import type { Context } from '../../context.ts';
import type { Output } from '../../output.ts';
import { command } from '../../table/command.ts';
import { flagSwitch, one } from '../../table/flag.ts';
import { machineFlag, sshFlags } from '../../table/shared.ts';
import * as read from '../../table/values.ts';
import { machineOf } from '../exec/address.ts';
import { shownDuration, textOf } from '../exec/render.ts';
import { sshContext } from './ssh.ts';

export const machineUp = command({
  name: 'machine up',
  ownHost: true,
  summary: 'Make a machine ready: install and start its agent over SSH.',
  description:
    'Safe to repeat, and to interrupt: the controller does the work, the same line attaches to it.',
  flags: {
    machine: machineFlag,
    ...sshFlags,
    'accept-host-key': one(read.nonEmpty, 'FP', "accept the host's key with this SHA256:... fingerprint"),
    transport: one(
      read.oneOf(['ssh2', 'system']),
      'HOW',
      'ssh2 (default), or system for what only OpenSSH can do',
    ),
    'system-node': flagSwitch("use the machine's own Node.js"),
    bridge: flagSwitch('do not use SSH forwarding'),
    boot: flagSwitch('start the agent after a reboot, by cron where nothing else does'),
  },
  positional: 'machine',
  examples: [
    ['this host', 'machine up -m local'],
    ['over SSH', 'machine up -m gpu --ssh me@192.0.2.7'],
  ],
  async run(values, context) {
    const name = machineOf('machine up', values.machine, context.env);
    const request = {
      ...sshContext(context, {
        ...(values.transport === undefined ? {} : { transport: values.transport }),
        ...(values['accept-host-key'] === undefined ? {} : { accept_host_key: values['accept-host-key'] }),
      }),
      ...(values.ssh === undefined ? {} : { ssh: values.ssh }),
      ...(values['agent-home'] === undefined ? {} : { agent_home: values['agent-home'] }),
      ...(values['system-node'] ? { system_node: true } : {}),
      ...(values.bridge ? { bridge: true } : {}),
      ...(values.boot ? { boot: true } : {}),
      ...(interactive(context.output) ? { interactive: true } : {}),
    };
    for await (const record of context.client.upMachine(name, request, {
      signal: context.output.readerGone,
    })) {
      if (record.kind !== 'event') continue;
      const failure = eventField(record.value, 'error');
      if (failure !== undefined) throw RemoteError.fromWire(failure).with({ machine: name });
      const stage = eventField(record.value, 'stage');
      if (stage !== undefined) showStage(context.output, stage);
      const prompt = eventField(record.value, 'prompt');
      if (prompt !== undefined) await answer(context, readPrompt(prompt));
      const up = eventField(record.value, 'up');
      if (up !== undefined) return upOutcome(readUp(up));
    }
    throw new RemoteError('stream_cut', `machine up ${name}: the controller went away before it was done`, {
      machine: name,
      hint: `repeat it, it attaches: codex-remote machine up -m ${name}`,
    });
  },
});

function interactive(output: Output): boolean {
  return output.terminal && output.mode === 'human';
}

/** What the SSH login asks; somebody sits here, or nothing would be asked. */
async function answer({ client, output }: Context, { id, ...question }: Prompt): Promise<void> {
  const typed = interactive(output) ? await askAtTerminal(output, question) : undefined;
  // Too late: the login has gone on without it, and says how it ended.
  await client.answerPrompt(id, typed).catch((error: unknown) => {
    if (RemoteError.from(error).code !== 'usage') throw error;
  });
}

function readPrompt(value: unknown): Prompt {
  if (!isObject(value) || typeof value.id !== 'string' || typeof value.text !== 'string')
    throw wrong('prompt', 'a question');
  return { id: value.id, text: value.text, secret: value.secret !== false };
}

function readUp(value: unknown): MachineUpResult {
  if (!isObject(value) || typeof value.machine !== 'string' || !Array.isArray(value.stages))
    throw wrong('up', 'a result');
  return value as MachineUpResult;
}

function upOutcome(up: MachineUpResult) {
  const text = `${up.machine} is ${up.already_up ? 'already ' : ''}up (${up.connection}, agent ${up.agent_version}) after ${shownDuration(up.duration_ms)}`;
  return {
    value: { ok: true, ...up, next_action: 'done' },
    exit: 0,
    human: () => textOf(text, ...up.warnings.map((warning) => `warning: ${warning}`)),
  };
}

function showStage(output: Output, value: unknown): void {
  if (!output.terminal || output.mode !== 'human' || !isObject(value)) return;
  const stage = value as Partial<Stage>;
  if (stage.status === 'running') return;
  const took = stage.duration_ms === undefined ? '' : ` ${shownDuration(stage.duration_ms)}`;
  output.note(
    oneLine(`${stage.name}: ${stage.status}${took}${stage.detail === undefined ? '' : `, ${stage.detail}`}`),
  );
}
