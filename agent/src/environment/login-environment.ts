import { accessSync, constants } from 'node:fs';
import { userInfo } from 'node:os';

/** What jobs start with, before our defaults and `--env`. */
export interface LoginEnvironment {
  readonly env: Readonly<Record<string, string>>;
  readonly umask: number;
  /** `plain` when the login environment could not be captured; `warnings` then says so. */
  readonly kind: 'login' | 'plain';
  readonly warnings: readonly string[];
}

/** The user as the system knows them. */
export interface User {
  readonly name: string;
  readonly home: string;
  /** Absolute path of their shell. */
  readonly shell: string;
}

type Env = Readonly<Record<string, string | undefined>>;

/** From the environment of the agent, else from passwd. */
export function currentUser(env: Env = process.env): User {
  const passwd = userInfo();
  return {
    name: passwd.username,
    home: env.HOME || passwd.homedir,
    shell: env.SHELL || passwd.shell || '/bin/sh',
  };
}

const usualPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * What a login starts from: who the user is, the language, the time zone. Not the rest of the agent's environment: it
 * came from whoever ran the bootstrap.
 */
export function plainEnvironment(user: User, env: Env = process.env): Record<string, string> {
  const plain: Record<string, string> = {
    HOME: user.home,
    USER: user.name,
    LOGNAME: user.name,
    SHELL: user.shell,
    PATH: env.PATH || usualPath,
    TERM: 'dumb',
  };
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && /^(LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|XDG_[A-Z_]+)$/.test(name))
      plain[name] = value;
  }
  return plain;
}

/** The mask of a plain environment, where the agent's own is 077. */
export const usualUmask = 0o022;

/** True when the file can be run. */
export function isRunnable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
