import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { ExecCommand, ExecSpec } from '@codex-remote/protocol/schema';
import { masked, RemoteError, secretsOf } from '@codex-remote/protocol/wire';

/** What a command is looked up in. */
export interface CommandContext {
  /** The job's environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly home: string;
  /** The directory that relative ones are in, where it is not the home. */
  readonly base?: string | undefined;
  /** The user's own shell. */
  readonly shell: string;
  /** Where the script will lie when the job runs, and its first bytes. */
  readonly script?: { readonly path: string; readonly head: Buffer };
}

export type Resolved =
  | { readonly kind: 'argv'; readonly argv: readonly string[]; readonly cwd: string }
  /** What a shell would say, known before the command runs: 126 or 127. */
  | { readonly kind: 'failed'; readonly exitCode: 126 | 127; readonly why: string; readonly cwd: string };

/** Turns a request into an argument vector and a directory, or says why nothing can run. Looks at the file system. */
export function resolveCommand(spec: ExecSpec, context: CommandContext): Resolved {
  const cwd = directoryOf(spec.cwd, context.home, context.base);
  const broken = directoryProblem(cwd);
  if (broken) return { kind: 'failed', exitCode: 126, why: broken, cwd };
  const argv = commandArgv(spec.command, cwd, context);
  if (!('why' in argv)) return { kind: 'argv', argv, cwd };
  return { kind: 'failed', ...argv, why: masked(argv.why, secretsOf(spec.env)), cwd };
}

interface Failure {
  readonly exitCode: 126 | 127;
  readonly why: string;
}

/** Absolute. `base`: what it is in where it is relative, or absent. */
export function directoryOf(wanted: string | undefined, home: string, base = home): string {
  if (wanted === undefined) return base;
  if (wanted === '~') return home;
  if (wanted.startsWith('~/')) return join(home, wanted.slice(2));
  return resolve(base, wanted);
}

function directoryProblem(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) return `cwd ${path}: no such directory`;
  if (!stat.isDirectory()) return `cwd ${path}: not a directory`;
  try {
    accessSync(path, constants.X_OK);
    return undefined;
  } catch {
    return `cwd ${path}: permission denied`;
  }
}

function commandArgv(command: ExecCommand, cwd: string, context: CommandContext): string[] | Failure {
  switch (command.kind) {
    case 'argv': {
      const [name = '', ...rest] = command.argv;
      const found = findProgram(name, cwd, context.env.PATH ?? '');
      if ('why' in found) return found;
      // `exec -x` would be an option; everything else keeps the name that it was called by.
      return [name.startsWith('-') ? found.path : name, ...rest];
    }
    case 'cmd': {
      const shell = findShell(command.shell, cwd, context);
      return 'why' in shell ? shell : [shell.path, '-c', command.cmd];
    }
    case 'script': {
      const script = context.script;
      if (!script) throw new RemoteError('protocol_error', 'a script command came without its script');
      const interpreter = interpreterOf(script.head);
      if (interpreter) {
        const found = findProgram(interpreter.path, cwd, '');
        if ('why' in found) return { ...found, why: `#! ${found.why}` };
        return [found.path, ...interpreter.argument, script.path];
      }
      const shell = findShell(command.shell, cwd, context);
      return 'why' in shell ? shell : [shell.path, script.path];
    }
  }
}

/** Absent: bash, else sh, so that users of fish and tcsh are served too. `login`: the user's own. */
function findShell(
  name: string | undefined,
  cwd: string,
  context: CommandContext,
): { path: string } | Failure {
  const path = context.env.PATH ?? '';
  if (name === 'login') return findProgram(context.shell, cwd, path);
  if (name !== undefined) {
    const found = findProgram(name, cwd, path);
    return 'why' in found ? { ...found, why: `shell ${found.why}` } : found;
  }
  for (const shell of ['bash', '/bin/bash', 'sh', '/bin/sh']) {
    const found = findProgram(shell, cwd, path);
    if ('path' in found) return found;
  }
  return { exitCode: 127, why: 'shell: neither bash nor sh is there' };
}

/** As execvp(3) looks: a name with a slash is a path, else each folder of PATH, an empty one being the directory. */
function findProgram(name: string, cwd: string, path: string): { path: string } | Failure {
  const candidates = name.includes('/')
    ? [resolve(cwd, name)]
    : path === ''
      ? []
      : path.split(':').map((dir) => join(resolve(cwd, dir), name));
  let denied: string | undefined;
  for (const candidate of candidates) {
    const stat = name === '' ? undefined : statSync(candidate, { throwIfNoEntry: false });
    if (!stat) continue;
    if (stat.isFile() && isExecutable(candidate)) return { path: candidate };
    denied ??= stat.isDirectory() ? `${name}: is a directory` : `${name}: permission denied`;
  }
  if (denied) return { exitCode: 126, why: denied };
  const missing = name.includes('/') ? 'no such file' : 'not found on PATH';
  return { exitCode: 127, why: `${name === '' ? "''" : name}: ${missing}` };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** `#! interpreter [one argument]`, as execve(2) reads it; undefined without such a line. */
function interpreterOf(head: Buffer): { path: string; argument: string[] } | undefined {
  if (head[0] !== 0x23 || head[1] !== 0x21) return undefined;
  const end = head.indexOf('\n');
  const line = head
    .toString('utf8', 2, end < 0 ? head.length : end)
    .replace(/\r$/, '')
    .trim();
  const [path = '', ...rest] = line.split(/[ \t]+/);
  if (path === '') return undefined;
  const argument = line.slice(path.length).trim();
  return { path, argument: rest.length > 0 ? [argument] : [] };
}

/** MAX_ARG_STRLEN of Linux, its NUL included: one argument or variable. */
const maxStringBytes = 128 * 1024;
/** Room for what the shim puts beside argv and environment. */
const shimRoomBytes = 16 * 1024;

/**
 * Refuses before acceptance what execve(2) would refuse after it. Throws `args_too_long`. `limitBytes`: of argv and
 * environment together, see `systemArgsLimit`.
 */
export function checkArgsFit(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  limitBytes: number,
): void {
  let total = shimRoomBytes;
  const add = (what: string, text: string): void => {
    const bytes = Buffer.byteLength(text) + 1;
    if (bytes > maxStringBytes) throw tooLong(`${what} of ${bytes} bytes is over ${maxStringBytes}`);
    // Eight for its pointer.
    total += bytes + 8;
  };
  for (const arg of argv) add('an argument', arg);
  for (const [name, value] of Object.entries(env)) add(`the variable ${name}`, `${name}=${value}`);
  if (total > limitBytes) throw tooLong(`arguments and environment of ${total} bytes are over ${limitBytes}`);
}

function tooLong(message: string): RemoteError {
  return new RemoteError('args_too_long', message, { hint: 'send it as --script or --stdin', sent: 'no' });
}

/** A quarter of the stack limit, at most 6 MiB, at least 128 KiB: execve(2), "Limits on size of arguments". */
export function systemArgsLimit(): number {
  const most = 6 * 1024 * 1024;
  let stack = 8 * 1024 * 1024;
  try {
    const limit = /^Max stack size\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1];
    stack = limit === 'unlimited' ? most * 4 : Number(limit ?? stack);
  } catch {
    // No /proc: the usual stack of 8 MiB.
  }
  return Math.max(128 * 1024, Math.min(most, Math.floor(stack / 4)));
}

/** One line of at most 200 characters for lists; values of variables that are known to be secret are masked in it. */
export function commandLine({ command, env }: ExecSpec): string {
  const secrets = secretsOf(env);
  const text =
    command.kind === 'cmd'
      ? masked(command.cmd, secrets)
      : command.kind === 'argv'
        ? command.argv.map((arg) => quoted(masked(arg, secrets))).join(' ')
        : '(script)';
  const line = text.trim().replace(/[\s\p{Cc}]+/gu, ' ');
  const characters = Array.from(line);
  return characters.length <= 200 ? line : `${characters.slice(0, 199).join('')}…`;
}

function quoted(arg: string): string {
  return /^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", `'\\''`)}'`;
}
