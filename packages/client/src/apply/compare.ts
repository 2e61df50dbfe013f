import { readlinkSync } from 'node:fs';
import type { ObjectFormat } from '@codex-remote/protocol/schema';
import { type Change, modes, type Version } from './change.ts';
import type { BytePath } from './names.ts';
import { localPath, lookAt, type Seen, wayIsPlain } from './seen.ts';
import { folderOf } from './steps.ts';
import type { Target } from './target.ts';

/** How a path stands here: as before the exec, as after it already, or as neither. */
export type Standing = 'before' | 'after' | 'other';

export interface Compared {
  readonly change: Change;
  readonly standing: Standing;
  /** What is there now. */
  readonly seen?: Seen | undefined;
}

/** Where objects that are made on the way go: none of them is the repository's. */
export interface ScratchObjects {
  readonly directory: string;
  readonly alternates: readonly string[];
}

/**
 * Compares files of the tree with what the exec had, and made of them: by content, as the user's git would store it, by type
 * and execute bit. What is read is in `objects` afterwards.
 */
export async function compare(
  target: Target,
  changes: readonly Change[],
  objects: ScratchObjects,
): Promise<Compared[]> {
  const { root } = target;
  const paths = pathsOf(changes);
  const found = changes.map((change) => {
    const reachable = wayIsPlain(root, change.path);
    return { change, reachable, seen: reachable ? lookAt(root, change.path) : undefined };
  });
  const files = found.filter(({ seen }) => seen?.type === 'file').map(({ change }) => change.path);
  const ids = await hashFiles(target, files, objects);
  return found.map(({ change, reachable, seen }): Compared => {
    const now = seen && versionOf(target, change, seen, ids.get(change.path));
    const [before, after] = [same(now, change.old, target), same(now, change.new, target)];
    const standing =
      reachable && before
        ? 'before'
        : reachable && after
          ? 'after'
          : (betweenFileAndFolder(change, { reachable, type: seen?.type }, paths) ?? 'other');
    return { change, standing, seen };
  });
}

interface Paths {
  readonly leaving: ReadonlySet<BytePath>;
  readonly made: ReadonlySet<BytePath>;
  /** Those above what is made. */
  readonly folders: ReadonlySet<BytePath>;
}

function pathsOf(changes: readonly Change[]): Paths {
  const made = changes.flatMap(({ path, new: version }) => (version ? [path] : []));
  return {
    leaving: new Set(changes.flatMap(({ path, new: version }) => (version ? [] : [path]))),
    made: new Set(made),
    folders: new Set(made.flatMap(foldersAbove)),
  };
}

function foldersAbove(path: BytePath): BytePath[] {
  const folders: BytePath[] = [];
  for (let folder = folderOf(path); folder !== ''; folder = folderOf(folder)) folders.push(folder);
  return folders;
}

/** Where a file gives way to a folder of its name, or a folder to a file, neither is what stands there. */
function betweenFileAndFolder(
  { path, old, new: made }: Change,
  now: { readonly reachable: boolean; readonly type: Seen['type'] | undefined },
  paths: Paths,
): Standing | undefined {
  const isFolder = now.type === 'directory';
  const isBelow = (some: ReadonlySet<BytePath>) =>
    !now.reachable && foldersAbove(path).some((above) => some.has(above));
  // A new file below one that is to go, or in the place of a folder that may be one that empties.
  if (!old && (isFolder || isBelow(paths.leaving))) return 'before';
  // One that is gone, with a file above its place, or a folder in it.
  if (!made && (isFolder ? paths.folders.has(path) : isBelow(paths.made))) return 'after';
  return undefined;
}

function same(now: Version | undefined, then: Version | undefined, { settings }: Target): boolean {
  if (!now || !then) return now === then;
  return now.id === then.id && sameMode(now.mode, then.mode, settings.fileMode);
}

/** `bits`: the execute bit of this file system means something. */
function sameMode(now: string, then: string, bits: boolean): boolean {
  const isFile = (mode: string) => mode.startsWith('100');
  if (!isFile(now) || !isFile(then)) return now === then;
  return !bits || (now === modes.executable) === (then === modes.executable);
}

/** Undefined id: of what git has no name for. */
function versionOf(
  { root, repository }: Target,
  { path }: Change,
  { type, executable }: Seen,
  id: string | undefined,
): Version {
  if (type === 'symlink')
    return {
      mode: modes.symlink,
      id: blobId(repository.objectFormat, readlinkSync(localPath(root, path), 'buffer')),
    };
  if (type === 'file' && id !== undefined) return { mode: executable ? modes.executable : modes.file, id };
  return { mode: type, id: '' };
}

function blobId(format: ObjectFormat, content: Buffer): string {
  const { createHash } = process.getBuiltinModule('node:crypto');
  return createHash(format).update(`blob ${content.byteLength}\0`).update(content).digest('hex');
}

async function hashFiles(
  target: Target,
  paths: readonly BytePath[],
  objects: ScratchObjects,
): Promise<ReadonlyMap<BytePath, string>> {
  if (paths.length === 0) return new Map();
  const call = await target.treeCall({
    args: ['hash-object', '-w', '--stdin-paths'],
    objects,
    config: { 'core.looseCompression': '0' },
  });
  const answer = await target.git.run(call, { input: [Buffer.from(paths.map(cQuoted).join(''))] });
  const ids = answer.toString('latin1').split('\n');
  return new Map(paths.map((path, index) => [path, ids[index] ?? '']));
}

/** As git reads names on lines: in quotes, each byte that is not plain as three octal digits. */
function cQuoted(path: BytePath): string {
  const quoted = path.replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: all of them are quoted
    /[\x00-\x1f"\\\x7f-\xff]/g,
    (byte) => `\\${byte.charCodeAt(0).toString(8).padStart(3, '0')}`,
  );
  return `"${quoted}"\n`;
}
