import { isUtf8 } from 'node:buffer';
import type { Dirent } from 'node:fs';
import { lstat, opendir } from 'node:fs/promises';
import { errnoOf } from '../files/file-error.ts';
import { below } from '../files/path.ts';
import type { Place, Step } from './glob.ts';

/** What a glob names, from the folder that is searched. `globs`: which of them named it, or a folder that it is in. */
export interface Match {
  readonly path: Buffer;
  readonly globs: readonly number[];
  /** `git`: the records of a repository, which are nobody's artifacts. */
  readonly kind: 'file' | 'symlink' | 'not_regular' | 'git' | 'unreadable';
}

/** Names as latin1 text: a character is a byte. */
type NameEntry = Pick<Dirent, 'name' | 'isFile' | 'isDirectory' | 'isSymbolicLink'>;

const nothing = Buffer.alloc(0);

/**
 * Everything under `root` that the globs name, in no order; a folder is everything in it. Symbolic links are named and never
 * followed. Holds one entry of each folder on its way, however many there are. `goesOn` is asked at every one; it throws where
 * nothing more is wanted.
 */
export async function* findMatches(
  root: Buffer,
  place: Place,
  goesOn: () => void,
): AsyncGenerator<Match, void, void> {
  yield* inFolder({ root, goesOn }, nothing, place);
}

interface Search {
  readonly root: Buffer;
  readonly goesOn: () => void;
}

async function* inFolder(search: Search, folder: Buffer, place: Place): AsyncGenerator<Match, void, void> {
  try {
    for await (const entry of entriesOf(search, folder, place.names)) {
      const { path, step } = stepTo(folder, entry, place);
      if (step.named.length > 0) yield* all(search, path, entry, step);
      else if (step.below && entry.isDirectory()) yield* inFolder(search, path, step.below);
    }
  } catch (error) {
    // Of what is searched itself the caller is told.
    if (folder === nothing || errnoOf(error) === undefined) throw error;
    yield { path: folder, globs: [], kind: 'unreadable' };
  }
}

/** Itself, or everything in it. */
async function* all(
  search: Search,
  path: Buffer,
  entry: NameEntry,
  { named, below: place }: Step,
): AsyncGenerator<Match, void, void> {
  const match = (kind: Match['kind']): Match => ({ path, globs: named, kind });
  if (/^\.git$/i.test(entry.name)) yield match('git');
  else if (entry.isFile()) yield match('file');
  else if (entry.isSymbolicLink()) yield match('symlink');
  else if (!entry.isDirectory()) yield match('not_regular');
  else
    try {
      for await (const inside of entriesOf(search, path, undefined)) {
        const next = stepTo(path, inside, place);
        yield* all(search, next.path, inside, { ...next.step, named: [...named, ...next.step.named] });
      }
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      yield match('unreadable');
    }
}

function stepTo(folder: Buffer, { name }: NameEntry, place: Place | undefined): { path: Buffer; step: Step } {
  const bytes = Buffer.from(name, 'latin1');
  const step = place?.step(isUtf8(bytes) ? bytes.toString() : name);
  return {
    path: folder.byteLength === 0 ? bytes : below(folder, bytes),
    step: step ?? { named: [], below: undefined },
  };
}

/** Those of these names that are there, or all that are. Throws what the system said. */
async function* entriesOf(
  { root, goesOn }: Search,
  folder: Buffer,
  names: readonly string[] | undefined,
): AsyncGenerator<NameEntry, void, void> {
  const path = below(root, folder);
  if (names) {
    for (const name of names) {
      goesOn();
      const stat = await lstat(below(path, Buffer.from(name))).catch(() => undefined);
      if (stat)
        yield {
          name,
          isFile: () => stat.isFile(),
          isDirectory: () => stat.isDirectory(),
          isSymbolicLink: () => stat.isSymbolicLink(),
        };
    }
    return;
  }
  goesOn();
  for await (const entry of await opendir(path, { encoding: 'latin1' as BufferEncoding })) {
    goesOn();
    yield entry;
  }
}
