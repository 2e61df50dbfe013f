import { realpathSync } from 'node:fs';
import { absoluteOf, type BytePath, parentPath, systemPath } from './entry.ts';
import { errnoOf } from './tree-error.ts';

/**
 * Whether a link at `path` stays in the tree over the links that are there already, as far as what it leads to is there.
 * `root`: absolute, without links. What `targetFault` refuses is not asked here.
 */
export function linkStaysInside(root: BytePath, path: BytePath, target: BytePath): boolean {
  const names = parentPath(path) === '' ? [] : parentPath(path).split('/');
  for (const name of target.split('/')) {
    if (name === '..') names.pop();
    else if (name !== '' && name !== '.') names.push(name);
  }
  for (let length = names.length; length > 0; length--) {
    const there = absoluteOf(root, names.slice(0, length).join('/'));
    try {
      const real = realpathSync(systemPath(there), { encoding: 'latin1' as BufferEncoding });
      return real === root || real.startsWith(root.endsWith('/') ? root : `${root}/`);
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
    }
  }
  return true;
}
