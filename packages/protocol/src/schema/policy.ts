import { z } from 'zod';
import type { ExecSpec } from './exec.ts';
import { matchesArgv, parsePattern } from './policy-pattern.ts';

/** What a policy can say; see `docs/security.md`. */
export const policyMode = z.enum(['full', 'read-only', 'allow']);
export type PolicyMode = z.infer<typeof policyMode>;

const pattern = z.string().superRefine((text, context) => {
  const parsed = parsePattern(text);
  if (typeof parsed === 'string')
    context.addIssue({
      code: 'custom',
      message: `${JSON.stringify(text.slice(0, 60))} is no pattern: ${parsed}`,
    });
});

/** Names of variables by which something else can be made to run than what argv says: no policy lets them be set. */
const steering =
  /^(?:PATH|CDPATH|HOME|SHELL|ENV|BASH_ENV|BASHOPTS|SHELLOPTS|BASH_FUNC_.*|IFS|PS4|PROMPT_COMMAND|ZDOTDIR|TMPDIR|EDITOR|VISUAL|BROWSER|PAGER|MANPAGER|LESSOPEN|LESSCLOSE|.*_PAGER|.*_EDITOR|.*_ASKPASS|LD_.*|DYLD_.*|GLIBC_TUNABLES|GCONV_PATH|LOCPATH|NLSPATH|NODE_.*|NPM_.*|npm_.*|PYTHON.*|PERL.*|RUBY.*|GEM_.*|BUNDLE_.*|GIT_.*|SSH_.*|RSYNC_RSH|CVS_RSH|JAVA_.*|_JAVA_OPTIONS|JDK_.*|CLASSPATH|MAVEN_.*|GRADLE_.*|MAKE.*|GNUMAKEFLAGS|CC|CXX|LD|AR|CFLAGS|CARGO_.*|RUST.*|GO.*|CMAKE_.*|DOCKER_.*|KUBECONFIG|XDG_.*|LUA_.*|PHP.*|R_.*|CODEX_REMOTE_.*)$/;

const envName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'an environment name is [A-Za-z_][A-Za-z0-9_]*')
  .refine(
    (name) => !steering.test(name),
    'this variable can change what a command runs: no policy lets it be set',
  );

const directory = z
  .string()
  .max(512)
  .regex(/^(?:\/|~\/|~$)/, 'a directory is absolute, or ~/… of the machine')
  .refine((text) => !/[\p{Cc}\p{Cs}]/u.test(text), 'a directory has no control characters');

/** All of it fits the parameters of one request. */
const maxPolicyBytes = 8192;

/** What may be started on a machine. `allow`, `cwd` and `env` count with mode `allow` only, and are empty where absent. */
export const machinePolicy = z
  .strictObject({
    mode: policyMode,
    /** Patterns of what may run. */
    allow: z.array(pattern).max(128).optional(),
    /** Directories that `--cwd` may name, exactly; without `--cwd` it is the home. */
    cwd: z.array(directory).max(64).optional(),
    /** Variables that `--env` may set, exactly. */
    env: z.array(envName).max(64).optional(),
    /** Every exec says in `--label` what it is for. */
    require_label: z.literal(true).optional(),
  })
  .refine(
    ({ mode, allow, cwd, env }) => mode === 'allow' || !(allow || cwd || env),
    'only the mode allow has a list',
  )
  .refine(
    (policy) => JSON.stringify(policy).length <= maxPolicyBytes,
    `a policy is over ${maxPolicyBytes} bytes`,
  );
export type MachinePolicy = z.infer<typeof machinePolicy>;

export const fullPolicy: MachinePolicy = { mode: 'full' };

/** What a decision looks at: the spec of a start, and the SHA-256 of its texts where they are known. */
export type PolicyRequest = Omit<ExecSpec, 'exec_id' | 'mode' | 'merge'> & {
  /** Hex; of the script, or of the text of `--cmd`. */
  readonly text_sha256?: string | undefined;
};

/** `rule`: what of the policy refuses it. */
export type Decision =
  | { readonly allowed: true }
  | {
      readonly allowed: false;
      readonly rule:
        | 'read-only'
        | 'files'
        | 'label'
        | 'env'
        | 'cwd'
        | 'stdin'
        | 'shell'
        | 'command'
        | 'project';
      readonly why: string;
    };

/** What `machine check` and `machine up` run, and no policy refuses. */
export const canaryArgv: readonly string[] = ['/bin/sh', '-c', 'exit 0'];

/** Whether a policy lets a request start. Pure and total; controller and agent both ask it. */
export function decide(policy: MachinePolicy, request: PolicyRequest): Decision {
  if (isCanary(request)) return { allowed: true };
  if (policy.mode === 'read-only') return refused('read-only', 'nothing new is started on it');
  if (policy.require_label && (request.label ?? '').trim() === '')
    return refused('label', 'every exec has a --label that says what it is for');
  if (policy.mode === 'full') return { allowed: true };
  const names = new Set(policy.env);
  const foreign = Object.keys(request.env).find((name) => !names.has(name));
  if (foreign !== undefined)
    return refused('env', `--env ${foreign} is not among the variables that may be set`);
  if (request.cwd !== undefined && !policy.cwd?.includes(request.cwd))
    return refused('cwd', `--cwd ${request.cwd} is not among its directories`);
  if (request.worktree) return refused('project', 'what runs in a worktree is what its files say');
  if (request.artifacts) return refused('files', '--artifact would keep files that no listed command shows');
  if (request.stdin) return refused('stdin', '--stdin can be a program to what reads it');
  const { command } = request;
  if (command.kind !== 'argv' && command.shell !== undefined)
    return refused('shell', '--shell names what runs the text');
  const matches = (policy.allow ?? []).some((text) => {
    const parsed = parsePattern(text);
    if (typeof parsed === 'string' || parsed.kind !== command.kind) return false;
    if (parsed.kind === 'argv') return command.kind === 'argv' && matchesArgv(parsed, command.argv);
    if ('text' in parsed) return command.kind === 'cmd' && parsed.text === command.cmd;
    return request.text_sha256 === parsed.sha256;
  });
  return matches
    ? { allowed: true }
    : refused('command', `no pattern of it matches ${shownCommand(command)}`);
}

/**
 * Whether a policy lets files be written, removed and made: what may run is a matter of files. Reading is no matter of a policy:
 * who may read is told by scopes.
 */
export function decideFileChange(policy: MachinePolicy): Decision {
  if (policy.mode === 'full') return { allowed: true };
  return policy.mode === 'read-only'
    ? refused('read-only', 'nothing is changed on it')
    : refused('files', 'files are not changed where only listed commands may run');
}

/** Whether everything that `next` lets start, `now` lets start too. False where that cannot be told easily. */
export function isNarrower(next: MachinePolicy, now: MachinePolicy): boolean {
  if (next.mode === 'read-only') return true;
  if (now.require_label && !next.require_label) return false;
  if (now.mode === 'full') return true;
  if (now.mode === 'read-only' || next.mode === 'full') return false;
  const within = (some: readonly string[] = [], all: readonly string[] = []): boolean =>
    some.every((one) => all.includes(one));
  return within(next.allow, now.allow) && within(next.cwd, now.cwd) && within(next.env, now.env);
}

export function isSamePolicy(one: MachinePolicy, other: MachinePolicy): boolean {
  return isNarrower(one, other) && isNarrower(other, one);
}

/** A check of ours in every detail: it does nothing. */
function isCanary(request: PolicyRequest): boolean {
  const { command, ephemeral, env, cwd, stdin } = request;
  return (
    ephemeral === true &&
    command.kind === 'argv' &&
    command.argv.length === canaryArgv.length &&
    command.argv.every((word, at) => word === canaryArgv[at]) &&
    Object.keys(env).length === 0 &&
    cwd === undefined &&
    !stdin &&
    request.worktree === undefined &&
    request.artifacts === undefined &&
    request.queue === undefined &&
    request.after === undefined &&
    request.after_any === undefined
  );
}

function refused(rule: Extract<Decision, { allowed: false }>['rule'], why: string): Decision {
  return { allowed: false, rule, why };
}

function shownCommand(command: PolicyRequest['command']): string {
  if (command.kind === 'argv') return JSON.stringify(command.argv).slice(0, 120);
  return command.kind === 'cmd'
    ? 'this --cmd: shell text is allowed by its exact text only'
    : 'this --script';
}
