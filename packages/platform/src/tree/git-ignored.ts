import { RemoteError } from '@codex-remote/protocol/wire';
import { Git } from '../git/index.ts';
import { type BytePath, childPath } from './entry.ts';
import { treeLimits } from './limits.ts';

const git = new Git();
const args = ['ls-files', '-z', '--others', '--ignored', '--exclude-standard', '--directory'] as const;

/**
 * What git leaves out of a folder that lies in a work tree: names, and folders with all that is in them. Undefined where git
 * is missing, no repository is there, or all of the folder is left out: whoever names it wants what is in it. `root` is
 * absolute. Throws `too_large` and `cancelled`.
 */
export async function gitIgnored(
  root: string,
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<BytePath> | undefined> {
  const limits = { signal, maxOutputBytes: treeLimits.maxIgnoredListBytes };
  try {
    // What the user's own configuration leaves out is left out too.
    const { code, stdout } = await git.ask({ cwd: root, userConfig: true, args }, limits);
    if (code !== 0) return undefined;
    const names = stdout.toString('latin1').split('\0');
    if (names[0] === './') return undefined;
    return new Set(names.filter((name) => name !== '').map((name) => name.replace(/\/$/, '')));
  } catch (error) {
    if (error instanceof RemoteError && error.code === 'git_missing') return undefined;
    throw error;
  }
}

/** The same names as seen from the folder above, in which theirs is `folder`. */
export function below(folder: BytePath, names: ReadonlySet<BytePath>): ReadonlySet<BytePath> {
  return new Set([...names].map((name) => childPath(folder, name)));
}
