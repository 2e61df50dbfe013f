import { mkdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { GitCall } from '@codex-remote/platform/git';
import { RemoteError } from '@codex-remote/protocol/wire';
import { type Change, modes, type Version } from './change.ts';
import type { ScratchObjects } from './compare.ts';
import { type BytePath, textOfPath } from './names.ts';
import { localPath } from './seen.ts';
import type { Target } from './target.ts';

export interface Building {
  readonly target: Target;
  /** A folder of ours. */
  readonly staging: string;
  readonly objects: ScratchObjects;
  /** Those that stand as before; what they were of regular files is in `objects`. */
  readonly changes: readonly Change[];
  /** Other paths that the patch is about: nothing is made of them. */
  readonly excluded: readonly BytePath[];
  readonly patch: AsyncIterable<Uint8Array>;
}

/** Where what was made lies, each file under its path. */
const madeName = 'made';

/** Names of excluded files are arguments of a program: systems take about 2 MiB of them. */
const maxExcludedBytes = 1024 * 1024;

/**
 * Makes the new files from the old ones and the patch, in a folder apart: each is exactly what its object id says, or nothing
 * is given. Returns that folder. Throws `patch_damaged`, `too_large`, `disk_low`.
 */
export async function buildFiles(building: Building): Promise<string> {
  const { target, staging, objects, changes } = building;
  const { git, root, repository } = target;
  const indexed: GitCall = {
    args: [],
    cwd: root,
    gitDir: repository.gitDir,
    indexFile: join(staging, 'index'),
    objects,
  };
  const made = join(staging, madeName);
  mkdirSync(made, { mode: 0o700 });
  await storeLinks(building);
  await git.run(
    { ...indexed, args: ['update-index', '-z', '--index-info'] },
    { input: [indexInfo(changes.flatMap(({ path, old }) => (old ? [[path, old]] : [])))] },
  );
  await applyPatch(building, indexed);
  await verify(building, indexed);
  const written = changes.flatMap((change) => (change.new ? [`${change.path}\0`] : []));
  await git.run(
    await target.treeCall({
      ...indexed,
      args: ['checkout-index', '-z', '--stdin', `--prefix=${made}/`],
      config: { 'core.symlinks': 'true' },
    }),
    { input: [Buffer.from(written.join(''), 'latin1')] },
  );
  return made;
}

/** Of symbolic links: where they lead, before. */
async function storeLinks({ target, staging, objects, changes }: Building): Promise<void> {
  const links = changes.filter(({ old }) => old?.mode === modes.symlink);
  if (links.length === 0) return;
  const folder = join(staging, 'links');
  mkdirSync(folder, { mode: 0o700 });
  const files = links.map(({ path }, index) => {
    const file = join(folder, String(index));
    writeFileSync(file, readlinkSync(localPath(target.root, path), 'buffer'));
    return JSON.stringify(file);
  });
  await target.git.run(
    { args: ['hash-object', '-w', '--no-filters', '--stdin-paths'], cwd: target.root, objects },
    { input: [Buffer.from(`${files.join('\n')}\n`)] },
  );
}

async function applyPatch({ target, excluded, patch }: Building, indexed: GitCall): Promise<void> {
  const out = excluded.map((path) => `--exclude=${literalPattern(path)}`);
  if (out.reduce((sum, word) => sum + word.length, 0) > maxExcludedBytes)
    throw new RemoteError('too_large', `${out.length} files are not to be taken: more than git can be told`);
  const args = [
    'apply',
    '--cached',
    '--binary',
    '--whitespace=nowarn',
    '--no-ignore-whitespace',
    ...out,
    '-',
  ];
  const answer = await target.git.ask({ ...indexed, args }, { input: patch });
  if (answer.code === 0) return;
  throw RemoteError.from(damaged(answer.stderr.trim().split('\n')[0] ?? ''));
}

/** The index has these files and no others, each with its id and mode. */
async function verify({ target, changes }: Building, indexed: GitCall): Promise<void> {
  const listed = await target.git.run({ ...indexed, args: ['ls-files', '--stage', '-z'] });
  const found = new Set(listed.toString('latin1').split('\0').filter(Boolean));
  const due = changes.flatMap(({ path, new: made }) => (made ? [`${made.mode} ${made.id} 0\t${path}`] : []));
  const wrong = due.find((line) => !found.has(line));
  if (wrong !== undefined) throw damaged(`${textOfPath(wrong.split('\t')[1] ?? '')} comes out otherwise`);
  if (found.size !== due.length) throw damaged('it is about other files too');
}

function damaged(what: string): RemoteError {
  return new RemoteError('patch_damaged', `the patch does not make the files that it is said to: ${what}`);
}

function indexInfo(entries: readonly (readonly [BytePath, Version])[]): Buffer {
  return Buffer.from(entries.map(([path, { mode, id }]) => `${mode} ${id}\t${path}\0`).join(''), 'latin1');
}

/**
 * Matches this path alone; a name that is not UTF-8 cannot be an argument, and each odd byte of it stands for any: what is
 * left out by that too many is found when the files are verified.
 */
function literalPattern(path: BytePath): string {
  const text = textOfPath(path);
  const isText = Buffer.from(text).toString('latin1') === path;
  if (isText) return text.replace(/[\\*?[]/g, '\\$&');
  return path.replace(/[\\*[]/g, '\\$&').replace(/[^ -~]/g, '?');
}
