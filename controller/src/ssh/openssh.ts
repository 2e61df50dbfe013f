import { execFile } from 'node:child_process';
import { RemoteError } from '@codex-remote/protocol/wire';

/** Where and how this process finds the user's OpenSSH set-up: the parts of a CLI request that travel with it. */
export interface SshEnvironment {
  /** `ssh -F`; absent = OpenSSH's own choice. */
  readonly configPath?: string;
  /** `SSH_AUTH_SOCK` of the caller; absent = no agent. */
  readonly authSock?: string;
  /** Environment of the `ssh` that we run, and what `${NAME}` in the configuration means. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** `ssh` or a path to it. */
  readonly program?: string;
}

/** Milliseconds until a running `ssh -G` is given up: a `Match exec` of the user's can hang. */
const answerMs = 8_000;

/** Words that make `ssh` read the same configuration as the user's own does. */
export function configWords(environment: SshEnvironment): string[] {
  return environment.configPath === undefined ? [] : ['-F', environment.configPath];
}

/** The environment of a child `ssh`, with the caller's agent and no other. */
export function childEnv(environment: SshEnvironment): Record<string, string | undefined> {
  return { ...environment.env, SSH_AUTH_SOCK: environment.authSock, SSH_ASKPASS_REQUIRE: 'never' };
}

/** What `ssh -G` prints for the words after it. Throws `ssh_config_invalid`, with what ssh said. */
export function askOpenssh(
  environment: SshEnvironment,
  words: readonly string[],
  host: string,
): Promise<string> {
  const argv = ['-G', ...configWords(environment), ...words, '--', host];
  return new Promise((resolve, reject) => {
    execFile(
      environment.program ?? 'ssh',
      argv,
      { env: childEnv(environment), timeout: answerMs, maxBuffer: 1024 * 1024, encoding: 'utf8' },
      (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else reject(unanswered(error, stderr, host));
      },
    ).stdin?.end();
  });
}

function unanswered(
  error: Error & { code?: unknown; killed?: boolean },
  stderr: string,
  host: string,
): RemoteError {
  if (error.code === 'ENOENT') {
    return new RemoteError('ssh_config_invalid', 'the program ssh is not installed here', {
      hint: 'install the OpenSSH client (package openssh-client)',
    });
  }
  const said = stderr.trim().split('\n').slice(-4).join('; ').slice(0, 500);
  const why = error.killed
    ? `gave no answer within ${answerMs / 1000} s`
    : `refused it: ${said || 'no reason given'}`;
  return new RemoteError(
    'ssh_config_invalid',
    `ssh -G for ${host} ${why}`,
    { hint: `run \`ssh -G ${host}\` and correct the configuration it complains about` },
    error,
  );
}
