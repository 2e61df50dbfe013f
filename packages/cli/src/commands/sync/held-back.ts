import { lstatSync, realpathSync } from 'node:fs';
import { join, relative } from 'node:path';
import { autorunKind, autorunKinds, autorunRoots } from '@codex-remote/client/apply';

/** Why an entry of a machine's tree is not taken into `root`, an absolute path here: it would act by itself. */
export function heldBackOf(root: string): (entry: { readonly path: string }) => string | undefined {
  const obeyed = obeyedFolders(root);
  return ({ path }) => {
    const kind =
      autorunKind(Buffer.from(path, 'latin1').toString()) ??
      obeyed.find(({ folder }) => path === folder || path.startsWith(`${folder}/`))?.kind;
    return kind && `${autorunKinds[kind]}; --allow-autorun takes it`;
  };
}

/** Names that are obeyed and are links here: what they lead to is obeyed too. */
function obeyedFolders(root: string): { folder: string; kind: keyof typeof autorunKinds }[] {
  return autorunRoots.flatMap((name) => {
    const kind = autorunKind(name);
    try {
      const path = join(root, name);
      if (!kind || !lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) return [];
      const folder = relative(realpathSync(root), realpathSync(path));
      return folder === '' || folder.startsWith('..')
        ? []
        : [{ folder: Buffer.from(folder).toString('latin1'), kind }];
    } catch {
      // It leads nowhere.
      return [];
    }
  });
}
