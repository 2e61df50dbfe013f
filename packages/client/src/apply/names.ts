import { foldName } from './autorun.ts';

/**
 * Paths here are byte strings: one character a byte (latin1), relative to the top of the tree, `/` between their parts. Not
 * every name is UTF-8.
 */
export type BytePath = string;

export function textOfPath(path: BytePath): string {
  return Buffer.from(path, 'latin1').toString();
}

/** Why nothing of that name is ever written: it is git's own, or no name inside the tree. Undefined for all others. */
export function refusedName(path: BytePath): 'git' | 'outside' | undefined {
  const parts = path.split('/');
  if (path.includes('\0') || parts.some((part) => part === '' || part === '.' || part === '..'))
    return 'outside';
  return parts.some(isGitName) ? 'git' : undefined;
}

/** Characters that HFS+ passes over when it compares names. */
const ignoredByHfs = /[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g;

/** Some file system takes it for `.git`: upper case, characters that do not count, short names, streams, a dot or space behind. */
function isGitName(part: BytePath): boolean {
  const [name = ''] = foldName(textOfPath(part).replace(ignoredByHfs, '')).split(':');
  const bare = name.replace(/[ .]+$/, '');
  return bare === '.git' || /^git~\d+$/.test(bare);
}

/**
 * Whether a symbolic link at `path` leads out of the tree, or to git's own files, by what is written in it. What goes up
 * behind a name does too: where that leads depends on what the name is.
 */
export function linkLeadsOut(path: BytePath, target: BytePath): boolean {
  if (target.startsWith('/') || target === '' || target.includes('\0')) return true;
  const parts = target.split('/').filter((part) => part !== '' && part !== '.');
  const ups = parts.findIndex((part) => part !== '..');
  const plain = ups === -1 ? [] : parts.slice(ups);
  const up = ups === -1 ? parts.length : ups;
  return up > path.split('/').length - 1 || plain.includes('..') || plain.some(isGitName);
}

/** Pairs of names that some file systems take for the same; the first of each. */
export function collisions(paths: readonly BytePath[]): BytePath[] {
  const known = new Map<string, BytePath>();
  return paths.filter((path) => {
    const folded = foldName(textOfPath(path));
    const other = known.get(folded);
    known.set(folded, path);
    return other !== undefined && other !== path;
  });
}
