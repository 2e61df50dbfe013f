import type { MachineCheck } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { failureOf } from '../../errors.ts';
import { command } from '../../table/command.ts';
import { flagSwitch } from '../../table/flag.ts';
import { machineFlag } from '../../table/shared.ts';
import { machineOf } from '../exec/address.ts';
import { textOf } from '../exec/render.ts';
import { sshContext } from './ssh.ts';

export const machineCheck = command({
  name: 'machine check',
  summary: 'Say whether a machine is ready, by SSH and by running something there.',
  description: 'Exits with 0 whenever the check itself could be made, ready or not.',
  flags: { machine: machineFlag, 'exit-code': flagSwitch('exit with 1 when it is not ready') },
  positional: 'machine',
  examples: [
    ['is it ready?', 'machine check -m local'],
    ['in a script', 'machine check local --exit-code'],
  ],
  async run(values, context) {
    const name = machineOf('machine check', values.machine, context.env);
    const check = await context.client.checkMachine(name, sshContext(context));
    const answer = checkAnswer(check);
    return {
      value: answer,
      exit: check.daemon_ok || !values['exit-code'] ? 0 : 1,
      human: () => checkText(check, answer),
    };
  },
});

/** Ready needs only the daemon: a machine that dialled in itself may have no SSH at all. */
export function checkAnswer(check: MachineCheck) {
  const {
    machine,
    ssh_ok,
    ssh_checked_at,
    daemon_ok,
    latency_ms,
    connection,
    agent_version,
    shell,
    checked_at,
    registered,
    error,
    warnings,
  } = check;
  const failure =
    error === undefined
      ? undefined
      : failureOf(RemoteError.fromWire({ machine, ...error }), { args: [], stream: false, debug: false });
  const next = daemon_ok
    ? { next_action: 'done', ...given('next_command', failure?.next_command) }
    : { next_action: 'fix-config', next_command: nextCommand(check, failure?.next_command) };
  return {
    ok: true,
    machine,
    ssh_ok,
    ...given('ssh_checked_at', ssh_checked_at),
    daemon_ok,
    ...given('latency_ms', latency_ms),
    ...given('connection', connection),
    ...given('agent_version', agent_version),
    ...given('shell', shell),
    registered,
    checked_at,
    ...next,
    ...given('error', failure?.error),
    ...given('warnings', warnings),
  };
}

/** SSH reaches it, or is not how it is reached: bring it up. Else what the failure asks for. */
function nextCommand({ machine, ssh_ok, error }: MachineCheck, afterFailure: string | undefined): string {
  const sshFailed =
    ssh_ok === false ||
    (error !== undefined && (error.code.startsWith('ssh_') || error.code.startsWith('host_key_')));
  if (error?.facts?.invited === true && afterFailure !== undefined) return afterFailure;
  return sshFailed && afterFailure !== undefined ? afterFailure : `codex-remote machine up -m ${machine}`;
}

function checkText(check: MachineCheck, answer: ReturnType<typeof checkAnswer>): string {
  const ready = check.daemon_ok
    ? `ready (${check.connection ?? 'connected'}${check.latency_ms === undefined ? '' : `, ${check.latency_ms.toFixed(0)} ms`})`
    : 'not ready';
  const lines = [
    `${check.machine}: ${ready}`,
    `  ssh: ${check.ssh_ok === null ? 'not used' : check.ssh_ok ? 'ok' : 'failed'}`,
  ];
  if (check.error !== undefined) lines.push(`  ${check.error.message}`);
  if ('next_command' in answer && typeof answer.next_command === 'string')
    lines.push(`next: ${answer.next_command}`);
  return textOf(...lines);
}

function given<K extends string, V>(name: K, value: V | undefined): { [name in K]?: V } {
  return value === undefined ? {} : ({ [name]: value } as { [name in K]: V });
}
