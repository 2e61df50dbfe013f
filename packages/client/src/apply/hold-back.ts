import { readlinkSync, realpathSync } from 'node:fs';
import { isAbsolute, relative, resolve } from 'node:path';
import { type AutorunKind, autorunKind, autorunRoots } from './autorun.ts';
import { type Change, modes } from './change.ts';
import { type BytePath, collisions, linkLeadsOut, refusedName, textOfPath } from './names.ts';
import { errnoOf, localPath, lookAt } from './seen.ts';
import { folderOf } from './steps.ts';
import type { Target } from './target.ts';

/** It acts by itself: written where that is asked for. */
export interface HeldBack {
  readonly path: BytePath;
  readonly why: AutorunKind;
}

/**
 * Never written. `git`: it is git's own. `outside`: it is no name in the tree. `submodule`: a repository in the tree, whose
 * commits are not here. `link_outside`: a link that leads out of the tree. `same_name`: this file system takes it for another
 * of them. `type`: neither a file nor a link.
 */
export interface Refused {
  readonly path: BytePath;
  readonly why: 'git' | 'outside' | 'submodule' | 'link_outside' | 'same_name' | 'type';
}

const written: ReadonlySet<string> = new Set([modes.file, modes.executable, modes.symlink, '100664']);

/** What is refused whatever is asked for, and the rest. */
export function refuse(
  changes: readonly Change[],
  ignoreCase: boolean,
): { refused: Refused[]; rest: Change[] } {
  const doubles = new Set(ignoreCase ? collisions(changes.map(({ path }) => path)) : []);
  const refused: Refused[] = [];
  const rest = changes.filter((change) => {
    const why = doubles.has(change.path) ? 'same_name' : whyRefused(change);
    if (why) refused.push({ path: change.path, why });
    return !why;
  });
  return { refused, rest };
}

function whyRefused({ path, old, new: made }: Change): Refused['why'] | undefined {
  const why = refusedName(path);
  if (why) return why;
  const sides = [old, made].flatMap((side) => (side ? [side.mode] : []));
  if (sides.includes(modes.submodule)) return 'submodule';
  return sides.every((mode) => written.has(mode)) ? undefined : 'type';
}

/** What acts by itself here, and what does not. */
export function holdBack(changes: readonly Change[], target: Target): { held: HeldBack[]; taken: Change[] } {
  const obeyed = obeyedFolders(target);
  const held: HeldBack[] = [];
  const taken = changes.filter(({ path }) => {
    const why = autorunKind(textOfPath(path)) ?? obeyed.find(({ inside }) => inside(path))?.why;
    if (why) held.push({ path, why });
    return !why;
  });
  return { held, taken };
}

/** By how the repository is set up: where its hooks are, and what names that are obeyed lead to when they are links. */
function obeyedFolders({ root, settings }: Target): { inside(path: BytePath): boolean; why: AutorunKind }[] {
  const links = autorunRoots.flatMap((name) => {
    const why = autorunKind(name);
    return why && lookAt(root, name)?.type === 'symlink'
      ? [{ target: leadsTo(resolve(root, name)), why }]
      : [];
  });
  const hooks =
    settings.hooksPath === undefined
      ? []
      : [{ target: leadsTo(resolve(root, settings.hooksPath)), why: 'git_hook' as const }];
  return [...links, ...hooks].flatMap(({ target, why }) => {
    const folder = Buffer.from(relative(root, target)).toString('latin1');
    if (folder === '..' || folder.startsWith('../') || isAbsolute(folder)) return [];
    const inside = (path: BytePath) => folder === '' || path === folder || path.startsWith(`${folder}/`);
    return [{ inside, why }];
  });
}

/** Where nothing is there yet: what is written in it. */
function leadsTo(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** Of a change whose link was made below `made`: refused where it leads out of the tree, over links that are there too. */
export function refuseLink({ path, new: version }: Change, root: string, made: string): Refused | undefined {
  if (version?.mode !== modes.symlink) return undefined;
  const target = readlinkSync(localPath(made, path), 'buffer').toString('latin1');
  const out = linkLeadsOut(path, target) || !staysInside(root, path, target);
  return out ? { path, why: 'link_outside' } : undefined;
}

/** As far as what it leads to is there. */
function staysInside(root: string, path: BytePath, target: BytePath): boolean {
  const parts = [...folderOf(path).split('/'), ...target.split('/')].filter(
    (part) => part !== '' && part !== '.',
  );
  const plain: string[] = [];
  for (const part of parts) {
    if (part === '..') plain.pop();
    else plain.push(part);
  }
  for (let length = plain.length; length > 0; length--) {
    const there = localPath(root, plain.slice(0, length).join('/'));
    try {
      const real = realpathSync(there, 'buffer');
      const top = Buffer.from(`${root === '/' ? '' : root}/`);
      return real.subarray(0, top.byteLength).equals(top) || real.equals(Buffer.from(root));
    } catch (error) {
      if (!['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error))) throw error;
    }
  }
  return true;
}
