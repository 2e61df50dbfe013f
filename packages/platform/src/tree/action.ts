import type { Stats } from 'node:fs';
import { type BytePath, type Entry, type NamedEntryType, permissionBits } from './entry.ts';
import { mtimeUsOf, typeOf } from './look.ts';
import { targetFault } from './names.ts';

/** What makes a tree the one that was told, a step each. `entry` is the very object that came in. */
export type Action =
  /** A folder; what has its name and is none goes. */
  | { readonly do: 'make'; readonly entry: Entry }
  /** Mode and time alone. */
  | { readonly do: 'chmod'; readonly entry: Entry }
  | { readonly do: 'link'; readonly entry: Entry }
  /** The content is to come. `base`: a file that is there, of which parts may be the same. */
  | { readonly do: 'send'; readonly entry: Entry; readonly base?: { readonly size: number } }
  /** One name, after what was in it. */
  | { readonly do: 'remove'; readonly path: BytePath; readonly type: NamedEntryType }
  /** It is to be there and cannot be. */
  | { readonly do: 'refuse'; readonly path: BytePath; readonly why: string; readonly entry: Entry }
  /** It is to be gone and stays. */
  | { readonly do: 'skip'; readonly path: BytePath; readonly why: string };

/** What is there under the name of an entry. */
export interface There {
  readonly stat: Stats;
  /** Of a link. */
  readonly target: BytePath | undefined;
}

/**
 * What is to be done for one entry, or undefined. `sameContent` is true where a file of the same size is known to have the
 * same content; undefined where times are to tell.
 */
export function actionFor(
  entry: Entry,
  there: There | undefined,
  sameContent: boolean | undefined,
): Action | undefined {
  const { path } = entry;
  const now = there && typeOf(there.stat);
  if (now === 'other') return refuse(entry, 'a device, FIFO or socket is in its place');
  switch (entry.type) {
    case 'directory':
      if (now !== 'directory') return { do: 'make', entry };
      return hasMode(entry, there) ? undefined : { do: 'chmod', entry };
    case 'symlink': {
      const fault = targetFault(path, entry.target ?? '');
      if (fault !== undefined) return refuse(entry, fault);
      if (now === 'directory') return refuse(entry, 'a folder is in its place; --delete removes it');
      return there?.target === entry.target ? undefined : { do: 'link', entry };
    }
    case 'file':
      if (now === 'directory') return refuse(entry, 'a folder is in its place; --delete removes it');
      return fileAction(entry, now === 'file' ? there?.stat : undefined, sameContent);
    default:
      return undefined;
  }
}

export function refuse(entry: Entry, why: string): Action {
  return { do: 'refuse', path: entry.path, why, entry };
}

function fileAction(
  entry: Entry,
  there: Stats | undefined,
  sameContent: boolean | undefined,
): Action | undefined {
  if (!there) return { do: 'send', entry };
  const sameTime = mtimeUsOf(there) === entry.mtimeUs;
  const same = there.size === entry.size && (sameContent ?? sameTime);
  const send: Action = { do: 'send', entry, base: { size: there.size } };
  if (!same) return send;
  if (sameTime && hasMode(entry, { stat: there })) return undefined;
  // A change of it would be one of its other names, wherever those are.
  return there.nlink > 1 ? send : { do: 'chmod', entry };
}

function hasMode({ mode }: Entry, there: Pick<There, 'stat'> | undefined): boolean {
  return there !== undefined && (there.stat.mode & permissionBits) === mode;
}
