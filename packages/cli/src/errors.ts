import { dirname } from 'node:path';
import type { NextAction } from '@codex-remote/client';
import { oneLine } from '@codex-remote/client';
import { type ErrorCode, RemoteError } from '@codex-remote/protocol/wire';
import { commandLine, namesId, shellQuote } from './shell-quote.ts';

/** What stdout has on failure. */
export interface Failure {
  type?: 'error';
  ok: false;
  error: Readonly<Record<string, unknown>>;
  next_action: NextAction;
  next_command?: string;
}

export interface FailureOptions {
  /** The line as typed: repeated with `--id` where that is the thing to do next. */
  readonly args: readonly string[];
  /** In a stream the object says what it is. */
  readonly stream: boolean;
  readonly debug: boolean;
  /** Noun and verb, where they are known. */
  readonly command?: string | undefined;
}

type Advice = { hint: string; next?: string };

/** What to do about each code, where the error does not say better itself. `m` is the machine, `id` the exec. */
const advice: Partial<Record<ErrorCode, (m: string, id: string) => Advice>> = {
  unknown_machine: () => ({
    hint: 'codex-remote machine list shows the machines, machine add registers one',
    next: 'machine list',
  }),
  machine_exists: (m) => ({
    hint: 'machine show tells what it is; machine remove makes the name free',
    next: `machine show -m ${m}`,
  }),
  machine_offline: (m) => ({
    hint: 'its running execs go on; machine up brings its agent back',
    next: `machine up -m ${m}`,
  }),
  connection_reset: (m) => ({
    hint: 'an exec that was accepted goes on; machine check tells about the connection',
    next: `machine check -m ${m}`,
  }),
  agent_outdated: (m) => ({
    hint: 'machine up replaces the agent; its execs go on',
    next: `machine up -m ${m}`,
  }),
  unauthorized: (m) => ({
    hint: "a token or a machine's key is not accepted; token list shows what holds, machine up renews keys",
    next: m === 'NAME' ? 'token list' : `machine up -m ${m}`,
  }),
  forbidden: () => ({
    hint: 'a token with the scope that is named, or the host of the controller itself',
    next: 'token list',
  }),
  certificate_mismatch: () => ({
    hint: 'somebody may be in between; where the controller has a new key, its owner makes a new token file',
    next: 'controller status',
  }),
  too_many_failures: () => ({
    hint: 'wait a minute; is the token the right one?',
    next: 'controller status',
  }),
  exec_not_found: () => ({
    hint: 'codex-remote exec list shows the execs that are known',
    next: 'exec list',
  }),
  exec_removed: (_m, id) => ({
    hint: 'retention removed it; what it ended with is still known',
    next: `exec result --id ${id}`,
  }),
  conflict: (_m, id) => ({
    hint: 'take another --id, or none; exec result shows what has this one',
    next: `exec result --id ${id}`,
  }),
  ambiguous_id: () => ({ hint: 'give more of the id, or --machine', next: 'exec list' }),
  unknown_project: () => ({
    hint: 'codex-remote project list shows the projects; a folder here is given with a slash, or as .',
    next: 'project list',
  }),
  project_exists: () => ({ hint: 'project show tells what it is', next: 'project list' }),
  unknown_ref: () => ({
    hint: 'a branch, tag or commit of the repository, or WORKTREE for the files as they are',
    next: 'exec run --help',
  }),
  not_repository: () => ({
    hint: '--project takes a folder that is in a git repository',
    next: 'exec run --help',
  }),
  policy_refused: (m) => ({
    hint: 'machine show has the policy of the machine; machine set changes it',
    next: `machine show -m ${m}`,
  }),
  host_key_unknown: (m) => ({
    hint: 'compare the fingerprint with the one shown on the machine, then pass it to --accept-host-key',
    next: `machine up -m ${m} --accept-host-key FINGERPRINT`,
  }),
  host_key_changed: (m) => ({
    hint: 'someone may be in between; when the change is known, remove the old key with ssh-keygen -R',
    next: `machine check -m ${m}`,
  }),
  ssh_auth_failed: (m) => ({
    hint: 'ssh-add loads a key into the agent; ssh to the host shows what it accepts',
    next: `machine check -m ${m}`,
  }),
  ssh_unreachable: (m) => ({
    hint: 'look at the address, the port and whether the host is on',
    next: `machine check -m ${m}`,
  }),
  listen_failed: () => ({
    hint: 'choose another address',
    next: 'controller start --listen HOST:PORT',
  }),
  controller_unreachable: () => ({ hint: 'its log tells more', next: 'controller logs' }),
  controller_starting: () => ({ hint: 'it answers in a moment', next: 'controller status' }),
  sandbox_denied: () => ({
    hint: 'run this outside the sandbox, or use the MCP server',
    next: 'controller status',
  }),
  stream_cut: (m, id) => ({
    hint: 'what was shown is exact; the rest can be read again',
    next: id === 'ID' ? `machine check -m ${m}` : `exec logs --id ${id}`,
  }),
  protocol_error: () => ({
    hint: 'CLI and controller may be of different versions',
    next: 'controller stop',
  }),
  shutting_down: () => ({ hint: 'the controller was told to stop', next: 'controller start' }),
  internal: () => ({ hint: 'this is a defect; the controller log may have more', next: 'controller logs' }),
};

/** Any thrown value as what stdout has: what failed, on what, what to do next. */
export function failureOf(thrown: unknown, options: FailureOptions): Failure {
  const error = RemoteError.from(thrown);
  const { machine, exec_id, sent, facts } = error.details;
  const hint = error.details.hint ?? (error.code === 'usage' ? helpLine(options.command) : undefined);
  const known = advice[error.code]?.(machine ?? 'NAME', exec_id ?? 'ID');
  return {
    ...(options.stream ? { type: 'error' as const } : {}),
    ok: false,
    error: {
      code: error.code,
      message: error.message,
      ...given('hint', hint ?? known?.hint),
      retryable: error.retryable && !mayRunTwice(error, options),
      ...given('machine', machine),
      ...given('exec_id', exec_id),
      ...given('sent', sent),
      ...factsOf(facts),
      ...(options.debug ? { stack: stackOf(error) } : {}),
    },
    ...next(error, known, options),
  };
}

/** The machine was reached and said no: nothing was accepted. */
const saidNo: ReadonlySet<ErrorCode> = new Set(['disk_low', 'fds_exhausted', 'too_many_channels']);

/** A line without an id gets another one when it is repeated: what it may have started would be started again. */
function mayRunTwice({ code, details }: RemoteError, { args, command }: FailureOptions): boolean {
  if ((command !== 'exec run' && command !== 'exec start') || namesId(args)) return false;
  return details.sent === 'unknown' || (details.sent === 'yes' && !saidNo.has(code));
}

/** The exec is not ours, or there is none: waiting for it would be wrong. */
const refusals: ReadonlySet<ErrorCode> = new Set([
  'exec_not_found',
  'exec_removed',
  'ambiguous_id',
  'conflict',
]);

function next(
  error: RemoteError,
  known: Advice | undefined,
  { args, command }: FailureOptions,
): Pick<Failure, 'next_action' | 'next_command'> {
  const { exec_id, sent, machine, facts } = error.details;
  if (error.code === 'usage')
    return withCommand(
      'fix-config',
      error.details.hint?.startsWith('codex-remote ') ? error.details.hint : helpLine(command),
    );
  if (exec_id !== undefined && !refusals.has(error.code)) {
    if (sent === 'yes' || sent === 'unknown')
      return withCommand('wait', `codex-remote exec result --id ${exec_id}`);
    if (sent === 'no' && error.retryable && (command === 'exec run' || command === 'exec start'))
      return withCommand('fix-config', commandLine(args, exec_id));
  }
  if (error.code === 'host_key_unknown' && typeof facts?.fingerprint === 'string' && machine !== undefined) {
    return withCommand(
      'fix-config',
      `codex-remote machine up -m ${machine} --accept-host-key ${facts.fingerprint}`,
    );
  }
  if (facts?.invited === true && machine !== undefined)
    return withCommand('fix-config', `codex-remote machine invite -m ${machine}`);
  const look = lookAtFile(error);
  if (look !== undefined) return withCommand('fix-config', look);
  const line = known?.next;
  const whole = line !== undefined && !/ (?:NAME|ID|FINGERPRINT)$/.test(line);
  return withCommand(
    'fix-config',
    whole
      ? `codex-remote ${line}`
      : machine === undefined
        ? 'codex-remote machine list'
        : `codex-remote machine check -m ${machine}`,
  );
}

/** How to look at the file that could not be had: at what it is, at its folder, or at what is in it. */
const looks: Partial<Record<ErrorCode, 'list' | 'folder' | 'stat' | 'stat --sha256'>> = {
  file_not_found: 'folder',
  is_directory: 'list',
  directory_not_empty: 'list',
  conflict: 'stat --sha256',
  file_not_permitted: 'stat',
  not_directory: 'stat',
  file_type: 'stat',
  file_exists: 'stat',
  file_changed: 'stat',
};

function lookAtFile({ code, details: { machine, facts } }: RemoteError): string | undefined {
  const look = looks[code];
  const path = facts?.path;
  if (look === undefined || machine === undefined || typeof path !== 'string') return undefined;
  const shown = look === 'folder' ? dirname(path) : path;
  // What acts on a terminal is no part of a line to repeat.
  if (!shown.startsWith('/') || oneLine(shown) !== shown) return undefined;
  return `codex-remote file ${look === 'folder' ? 'list' : look} -m ${machine} ${shellQuote(shown)}`;
}

function helpLine(command: string | undefined): string {
  return `codex-remote ${command === undefined ? '' : `${command} `}--help`;
}

function withCommand(
  next_action: NextAction,
  next_command: string,
): Pick<Failure, 'next_action' | 'next_command'> {
  return { next_action, next_command };
}

/** The one line of stderr: what failed, on what, what to do next. */
export function stderrLine({ error, next_command }: Failure): string {
  const hint =
    typeof error.hint === 'string'
      ? `; ${error.hint}`
      : next_command === undefined
        ? ''
        : `; next: ${next_command}`;
  return oneLine(`codex-remote: ${String(error.message)}${hint}`).slice(0, 600);
}

const fixed = new Set(['code', 'message', 'hint', 'retryable', 'machine', 'exec_id', 'sent', 'stack']);

function factsOf(facts: Readonly<Record<string, unknown>> | undefined): Record<string, unknown> {
  return Object.fromEntries(Object.entries(facts ?? {}).filter(([name]) => !fixed.has(name)));
}

function stackOf(error: RemoteError): string {
  const cause = error.cause instanceof Error ? `\ncaused by ${error.cause.stack}` : '';
  return `${error.stack}${cause}`;
}

function given<K extends string, V>(name: K, value: V | undefined): { [name in K]?: V } {
  return value === undefined ? {} : ({ [name]: value } as { [name in K]: V });
}
