import type { Git, GitCall } from '@codex-remote/platform/git';
import { RemoteError } from '@codex-remote/protocol/wire';

/**
 * Configuration in which every filter driver lets content pass as it is. A driver is a program that a repository's own
 * configuration can name; line ends and encodings are git's own work and stay. `call` has no arguments yet. Throws
 * `git_failed` for a driver whose name cannot be written on a command line of git.
 */
export async function plainFilters(git: Git, call: GitCall): Promise<Readonly<Record<string, string>>> {
  const args = ['config', '--null', '--name-only', '--get-regexp', '^filter\\.'];
  const answer = await git.ask({ ...call, args });
  const drivers = new Set(
    answer.stdout
      .toString('utf8')
      .split('\0')
      .flatMap((key) => /^filter\.(.*)\.[^.]+$/s.exec(key)?.[1] ?? []),
  );
  const config: Record<string, string> = {};
  for (const driver of drivers) {
    if (/[=\n]/.test(driver))
      throw new RemoteError(
        'git_failed',
        `the filter driver ${JSON.stringify(driver)} cannot be turned off`,
        {
          sent: 'no',
          hint: 'take it out of the configuration of the repository',
        },
      );
    for (const name of ['clean', 'smudge', 'process']) config[`filter.${driver}.${name}`] = '';
    config[`filter.${driver}.required`] = 'false';
  }
  return config;
}
