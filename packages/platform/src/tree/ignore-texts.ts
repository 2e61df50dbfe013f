import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { Git } from '../git/index.ts';
import {
  absoluteOf,
  type BytePath,
  bytePath,
  childPath,
  type IgnoreText,
  parentPath,
  systemPath,
} from './entry.ts';
import { treeLimits } from './limits.ts';

const git = new Git();

/**
 * What is ignored in a tree by files that are not in it, in the order in which they count: `.gitignore` files of the folders
 * above in its repository, that repository's own list, and its user's. Nothing outside of repositories.
 */
export async function textsAbove(root: BytePath, signal: AbortSignal | undefined): Promise<IgnoreText[]> {
  const call = { cwd: systemPath(root).toString(), userConfig: true };
  const ask = async (args: readonly string[]): Promise<string | undefined> => {
    const { code, stdout } = await git.ask({ ...call, args }, { signal });
    return code === 0 ? stdout.toString('latin1').replace(/\n$/, '') : undefined;
  };
  const top = await ask(['rev-parse', '--show-toplevel']).catch(() => undefined);
  if (top === undefined || top === '') return [];
  const [own, users] = await Promise.all([
    ask(['rev-parse', '--path-format=absolute', '--git-path', 'info/exclude']),
    ask(['config', '--path', '--get', 'core.excludesFile']),
  ]);
  const inside = root === top ? '' : root.slice(top.length + 1);
  const files: IgnoreText[] = [];
  const add = (text: string | undefined, prefix: BytePath): void => {
    if (text !== undefined && text !== '') files.push({ text, prefix });
  };
  for (let folder = inside; folder !== ''; ) {
    folder = parentPath(folder);
    const prefix = folder === '' ? inside : inside.slice(folder.length + 1);
    add(readIgnoreFile(folder === '' ? top : childPath(top, folder)), prefix);
  }
  add(own === undefined ? undefined : readIgnoreFile(own, ''), inside);
  add(
    readIgnoreFile(
      users ?? bytePath(`${process.env.XDG_CONFIG_HOME || `${homedir()}/.config`}/git/ignore`),
      '',
    ),
    inside,
  );
  return files;
}

/** Undefined: there is none that can be read. A FIFO is not waited for, and a link not followed, as git does not. */
export function readIgnoreFile(folder: BytePath, name = '.gitignore'): string | undefined {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  let fd: number | undefined;
  try {
    fd = openSync(systemPath(absoluteOf(folder, name)), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size > treeLimits.maxIgnoreFileBytes) return undefined;
    return readFileSync(fd, 'utf8');
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
