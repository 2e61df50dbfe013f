import { execIdName, execMarkName } from '@codex-remote/platform';

/** Nothing of ours waits for a person, whatever the login environment says; `--env` wins over these. */
const quietDefaults: Readonly<Record<string, string>> = {
  TERM: 'dumb',
  NO_COLOR: '1',
  PAGER: 'cat',
  GIT_PAGER: 'cat',
  SYSTEMD_PAGER: 'cat',
  GIT_TERMINAL_PROMPT: '0',
  GIT_EDITOR: 'true',
  EDITOR: 'false',
  DEBIAN_FRONTEND: 'noninteractive',
  PYTHONUNBUFFERED: '1',
};

/** Variables of bash that change how a bash that is `sh` runs the shim. */
const changesShells = ['SHELLOPTS', 'BASHOPTS'];

/** What some `sh` sets by itself, or drops when it is not interactive. */
const ofShells = [
  'IFS',
  'OPTIND',
  'PPID',
  'LINENO',
  'RANDOM',
  'SECONDS',
  'BASHPID',
  'UID',
  'EUID',
  'PS1',
  'PS2',
];

/** Ours, or of the shell that was asked; a job that starts an agent must not hand them on. */
const neverInherited = [execIdName, execMarkName, 'OLDPWD', 'SHLVL', '_', ...ofShells];

/** The environment of a job, but for its id and mark. */
export function jobEnvironment(
  login: Readonly<Record<string, string>>,
  asked: Readonly<Record<string, string>>,
  home: string,
): Record<string, string> {
  const env = { ...login };
  for (const name of neverInherited) delete env[name];
  return { ...env, PWD: home, ...quietDefaults, ...asked };
}

const notHandedOn: ReadonlySet<string> = new Set([...changesShells, ...ofShells]);

/**
 * Splits off what no `sh` can hand on: names that are no identifiers (exported functions of bash, which dash drops),
 * variables that would change the shim itself, and those that shells have of their own. They come back through env(1), as
 * arguments before the command.
 */
export function splitUncarried(env: Readonly<Record<string, string>>): {
  carried: Record<string, string>;
  uncarried: string[];
} {
  const carried: Record<string, string> = {};
  const uncarried: string[] = [];
  for (const [name, value] of Object.entries(env)) {
    if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !notHandedOn.has(name)) carried[name] = value;
    else uncarried.push(`${name}=${value}`);
  }
  return { carried, uncarried };
}
