import { type BytePath, pathText } from './entry.ts';
import { treeLimits } from './limits.ts';

/** Half-written files, in the root of the tree that they are for. Never part of a tree. */
export const stagingName = '.cr-sync';

/** What HFS+ leaves out of a name before it compares it. */
const ignorable = /[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g;

/**
 * `.git`, also as file systems that fold names would read it: what git keeps there can run programs. It never travels and is
 * never removed.
 */
export function isGitName(name: BytePath): boolean {
  if (name === '.git') return true;
  // The longest of the others has as many marks as one likes; all of them have a g, an i and a t.
  if (!/^(?:\.|g|\xe2|\xef)/i.test(name)) return false;
  const folded = pathText(name).normalize('NFC').replace(ignorable, '').toLowerCase();
  return /^(?:\.git|git~\d+)[ .]*$/.test(folded);
}

export function isStagingName(name: BytePath): boolean {
  return name.startsWith(stagingName);
}

/** Why a name cannot be one of a tree, or undefined. */
export function nameFault(name: BytePath): string | undefined {
  if (name === '' || name === '.' || name === '..') return 'it is no name';
  if (name.length > treeLimits.maxNameBytes) return `it has more than ${treeLimits.maxNameBytes} bytes`;
  if (name.includes('/') || name.includes('\0')) return 'it holds a slash or a NUL';
  if (isGitName(name)) return 'what is in .git does not travel';
  if (isStagingName(name)) return 'names like it are for half-written files';
  return undefined;
}

/** As file systems compare names that fold case and Unicode forms. */
export function foldedName(name: BytePath): string {
  return pathText(name).normalize('NFC').toLowerCase().normalize('NFC');
}

/**
 * Why a symbolic link at `path` cannot be made, or undefined: it must stay in the tree whatever other links of the tree lead
 * where. Names that go up are good at its beginning only, where they begin in a real folder; behind a name that is a link
 * itself they would go up from where that one leads.
 */
export function targetFault(path: BytePath, target: BytePath): string | undefined {
  if (target === '' || target.includes('\0')) return 'it leads nowhere';
  if (target.length > treeLimits.maxTargetBytes) return 'where it leads is too long';
  if (target.startsWith('/')) return 'it leads out of the tree: its target is absolute';
  let depth = path.split('/').length - 1;
  let down = false;
  for (const name of target.split('/')) {
    if (name === '' || name === '.') continue;
    if (name !== '..') {
      if (isGitName(name)) return 'it leads into .git';
      down = true;
      continue;
    }
    if (down) return 'it may lead out of the tree: its target goes up behind a name';
    depth -= 1;
    if (depth < 0) return 'it leads out of the tree';
  }
  return undefined;
}
