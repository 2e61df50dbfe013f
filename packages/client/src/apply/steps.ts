import type { BytePath } from './names.ts';

/** What a tree is changed by, in this order; undone backwards. */
export type Step =
  | { readonly do: 'remove'; readonly path: BytePath }
  /** A folder that this empties. */
  | { readonly do: 'rmdir'; readonly path: BytePath; readonly mode: number }
  | { readonly do: 'mkdir'; readonly path: BytePath }
  /** `there`: something is at its path, and is replaced. */
  | { readonly do: 'place'; readonly path: BytePath; readonly there: boolean; readonly put: Put };

/** What is put there: by it an undo knows whether it is still ours to take away. */
export type Put =
  | { readonly type: 'file'; readonly sha256: string }
  | { readonly type: 'symlink'; readonly target: BytePath };

/** The tree as it stands, as far as steps depend on it. */
export interface TreeView {
  /** Names in a folder; undefined where there is no folder of that path. `''` is the top. */
  names(folder: BytePath): readonly BytePath[] | undefined;
  mode(folder: BytePath): number;
}

export interface PlannedPut {
  readonly path: BytePath;
  readonly there: boolean;
  readonly put: Put;
}

/** The steps that remove and place these files, folders on the way included. Pure but for the view. */
export function planSteps(
  removed: readonly BytePath[],
  placed: readonly PlannedPut[],
  view: TreeView,
): Step[] {
  const gone = new Set(removed);
  const emptied: Step[] = [];
  const deepestFirst = [...foldersOf(removed)].sort((a, b) => depth(b) - depth(a) || compare(a, b));
  for (const folder of deepestFirst) {
    if (view.names(folder)?.every((name) => gone.has(below(folder, name)))) {
      gone.add(folder);
      emptied.push({ do: 'rmdir', path: folder, mode: view.mode(folder) });
    }
  }
  const missing = [...foldersOf(placed.map(({ path }) => path))]
    .filter((folder) => gone.has(folder) || view.names(folder) === undefined)
    .sort((a, b) => depth(a) - depth(b) || compare(a, b));
  return [
    ...[...removed].sort(compare).map((path): Step => ({ do: 'remove', path })),
    ...emptied,
    ...missing.map((path): Step => ({ do: 'mkdir', path })),
    ...[...placed]
      .sort((a, b) => compare(a.path, b.path))
      .map(({ path, there, put }): Step => ({ do: 'place', path, there: there && !gone.has(path), put })),
  ];
}

/** Every folder above these paths, without the top. */
function foldersOf(paths: readonly BytePath[]): Set<BytePath> {
  const folders = new Set<BytePath>();
  for (const path of paths)
    for (let folder = folderOf(path); folder !== '' && !folders.has(folder); folder = folderOf(folder))
      folders.add(folder);
  return folders;
}

export function folderOf(path: BytePath): BytePath {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

export function below(folder: BytePath, name: BytePath): BytePath {
  return folder === '' ? name : `${folder}/${name}`;
}

function depth(path: BytePath): number {
  return path.split('/').length;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
