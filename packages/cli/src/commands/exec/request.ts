import { closeSync, openSync, readSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import type { StartRequest, UploadSource } from '@codex-remote/client';
import { newId } from '@codex-remote/platform';
import type { ExecSpec } from '@codex-remote/protocol/schema';
import { logLimitActions, minLogLimitBytes, RemoteError } from '@codex-remote/protocol/wire';
import type { Context } from '../../context.ts';
import { usage } from '../../table/bind.ts';
import { flagSwitch, many, one, type ValuesOf } from '../../table/flag.ts';
import { connectWait, defaultConnectWaitMs, machineFlag } from '../../table/shared.ts';
import * as read from '../../table/values.ts';
import { environmentOf } from './environment.ts';
import { fileSource, stdinSource } from './source.ts';
import { checkWorktreeFlags, worktreeFlags } from './worktree.ts';

/** What `exec run` and `exec start` have in common: the request. */
export const requestFlags = {
  machine: machineFlag,
  cmd: one(read.nonEmpty, 'STRING', 'a shell string, in the login environment'),
  script: one(read.nonEmpty, 'FILE', 'a local script; - is our stdin'),
  cwd: one(read.nonEmpty, 'DIR', 'directory there (default: home, or the worktree)'),
  env: many(read.nonEmpty, 'K=V', 'a variable; K alone: its value here'),
  'env-file': many(read.nonEmpty, 'FILE', 'lines of K=V'),
  ...worktreeFlags,
  shell: one(read.nonEmpty, 'SH', 'for --cmd and --script (default bash, else sh; login: yours)'),
  timeout: one(read.duration, 'TIME', 'end the job after this (exit 124)'),
  id: one(read.execId, 'ID', 'our name for it: the same id again attaches'),
  label: one(read.text, 'TEXT', 'a word to find it by'),
  'log-limit': one(read.bytes, 'SIZE', 'kept of each stream (default 2G)'),
  'log-limit-action': one(
    read.oneOf(logLimitActions),
    'WHAT',
    'at the limit: drop-oldest (default) or cancel',
  ),
  stdin: one(read.nonEmpty, 'FILE', 'its stdin (default: empty); - is ours'),
  merge: flagSwitch('both streams to stdout, in order'),
  queue: one(read.queueName, 'NAME', 'take turns in this queue'),
  after: many(read.execId, 'ID', 'start once this exec has exited with 0'),
  'after-any': many(read.execId, 'ID', 'start once this exec has ended'),
  artifact: many(read.glob, 'GLOB', 'keep what matches when it ends'),
  'connect-wait': connectWait,
} as const;

export type RequestValues = ValuesOf<typeof requestFlags>;

const maxLabel = 200;
const maxGlobs = 64;
/** `cmd`, environment and argv travel in one spec of at most 4 MiB; this leaves room for JSON. */
const maxCommandBytes = 2 * 1024 * 1024;

/**
 * The request of `exec run` and `exec start`. The id is made here, before anything is sent: whatever fails later, it is
 * known. Throws `usage`, `too_large`.
 */
export function startRequest(
  command: 'exec run' | 'exec start',
  values: RequestValues,
  argv: readonly string[] | undefined,
  context: Context,
): StartRequest {
  const name = { name: command };
  const machine = values.machine ?? (context.env.CODEX_REMOTE_MACHINE || undefined);
  if (machine === undefined)
    throw usage(name, `${command} needs a machine: --machine NAME, or CODEX_REMOTE_MACHINE`);
  const given = [
    values.cmd !== undefined && '--cmd',
    values.script !== undefined && '--script',
    argv !== undefined && '-- ARGV',
  ].filter((way) => way !== false);
  if (given.length !== 1 || argv?.length === 0)
    throw usage(
      name,
      given.length > 1
        ? `${given.join(' and ')} exclude each other`
        : `${command} needs one of --cmd STRING, --script FILE, -- ARGV...`,
    );
  if (values.script === '-' && values.stdin === '-')
    throw usage(name, '--script - and --stdin - cannot both read our stdin');
  if (argv !== undefined && values.shell !== undefined)
    throw usage(name, '--shell is for --cmd and --script; -- ARGV runs without a shell');
  if ((values['log-limit'] ?? minLogLimitBytes) < minLogLimitBytes)
    throw usage(name, `--log-limit is at least ${minLogLimitBytes / 1024}K`);
  if (values.timeout === 0) throw usage(name, '--timeout 0 leaves no time');
  if ((values.label?.length ?? 0) > maxLabel) throw usage(name, `--label is at most ${maxLabel} characters`);
  checkWorktreeFlags(command, values);
  if ((values.artifact?.length ?? 0) > maxGlobs)
    throw usage(name, `--artifact may be given ${maxGlobs} times`);
  const execId = values.id ?? newId(context.clock.wall(), urandom);
  const bytes =
    values.cmd === undefined
      ? (argv ?? []).reduce((sum, word) => sum + Buffer.byteLength(word) + 1, 0)
      : Buffer.byteLength(values.cmd);
  if (bytes > maxCommandBytes)
    throw new RemoteError('too_large', `the command is ${bytes} bytes, over ${maxCommandBytes}`, {
      hint: 'a long script goes with --script FILE',
      sent: 'no',
      exec_id: execId,
    });
  const session =
    context.env.CODEX_REMOTE_SESSION || context.env.CODEX_THREAD_ID || context.env.CLAUDE_CODE_SESSION_ID;
  const spec: ExecSpec = {
    exec_id: execId,
    command: commandOf(values, argv),
    ...(values.cwd === undefined ? {} : { cwd: values.cwd }),
    env: environmentOf(values['env-file'] ?? [], values.env ?? [], context.env),
    stdin: values.stdin !== undefined,
    merge: values.merge === true,
    ...(values.timeout === undefined ? {} : { timeout_ms: values.timeout }),
    ...(values['log-limit'] === undefined ? {} : { log_limit_bytes: values['log-limit'] }),
    ...(values['log-limit-action'] === undefined ? {} : { log_limit_action: values['log-limit-action'] }),
    ...(values.label === undefined ? {} : { label: values.label }),
    ...(session ? { session: session.slice(0, maxLabel) } : {}),
    caller_cwd: context.cwd,
    mode: command === 'exec run' ? 'run' : 'async',
    ...(values.queue === undefined ? {} : { queue: values.queue }),
    ...(values.after === undefined ? {} : { after: [...values.after] }),
    ...(values['after-any'] === undefined ? {} : { after_any: [...values['after-any']] }),
    ...(values.artifact === undefined ? {} : { artifacts: [...values.artifact] }),
  };
  return {
    machine,
    spec,
    script: sourceOf('--script', values.script, context.cwd),
    stdin: sourceOf('--stdin', values.stdin, context.cwd),
    connectWaitMs: values['connect-wait'] ?? defaultConnectWaitMs,
  };
}

function commandOf(values: RequestValues, argv: readonly string[] | undefined): ExecSpec['command'] {
  const shell = values.shell === undefined ? {} : { shell: values.shell };
  if (values.cmd !== undefined) return { kind: 'cmd', cmd: values.cmd, ...shell };
  if (argv !== undefined) return { kind: 'argv', argv: [...argv] };
  return { kind: 'script', ...shell };
}

/** Reads our own stdin only where `-` says so. */
function sourceOf(flag: string, file: string | undefined, cwd: string): UploadSource | undefined {
  if (file === undefined) return undefined;
  return file === '-' ? stdinSource() : fileSource(flag, isAbsolute(file) ? file : resolve(cwd, file));
}

/** Bytes of the kernel's generator (random(4)), as `node:crypto` gives them; loading that costs 6 ms. */
export function urandom(bytes: number): Uint8Array {
  const fd = openSync('/dev/urandom', 'r');
  try {
    const buffer = Buffer.alloc(bytes);
    if (readSync(fd, buffer) !== bytes) throw new Error('/dev/urandom gave too few bytes');
    return buffer;
  } finally {
    closeSync(fd);
  }
}
