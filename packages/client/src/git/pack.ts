import { type GitCall, streamedBlobs } from '@codex-remote/platform/git';
import { maxShallow, RemoteError } from '@codex-remote/protocol/wire';
import type { UploadSource } from '../upload.ts';
import type { Repository } from './repository.ts';

export interface PackPlan {
  readonly commit: string;
  /** Commits that the other side has with all that is before them, and that are here too. */
  readonly without: readonly string[];
}

type Options = { readonly signal?: AbortSignal | undefined };

/** Those of `commits` that are here: only what is known can be left out of a pack. */
export async function knownOf(
  { git }: Repository,
  call: GitCall,
  commits: readonly string[],
  { signal }: Options,
): Promise<string[]> {
  if (commits.length === 0) return [];
  const args = ['cat-file', '--batch-check=%(objectname) %(objecttype)'];
  const input = [Buffer.from(commits.map((id) => `${id}\n`).join(''))];
  const answer = await git.run({ ...call, args }, { input, signal });
  return [...answer.toString('latin1').matchAll(/^([0-9a-f]+) commit$/gm)].map(([, id]) => id ?? '');
}

/**
 * The commits of the pack at which a shallow history ends here. Throws `too_large` where there are more than can be told.
 */
export async function shallowOf(
  repository: Repository,
  call: GitCall,
  { commit, without }: PackPlan,
  { signal }: Options,
): Promise<string[]> {
  const ends = new Set(repository.shallow());
  if (ends.size === 0) return [];
  const args = ['rev-list', commit, ...without.map((id) => `^${id}`), '--'];
  const sent = (await repository.git.run({ ...call, args }, { signal })).toString('latin1').split('\n');
  const found = sent.filter((id) => ends.has(id));
  if (found.length > maxShallow)
    throw new RemoteError(
      'too_large',
      `the shallow history ends in ${found.length} commits, over ${maxShallow}`,
      {
        sent: 'no',
        hint: 'git fetch --unshallow brings the whole history',
      },
    );
  return found;
}

/**
 * What a commit adds to one that the other side has, whatever lies between them: names of objects with their paths, as
 * `pack-objects` takes them. For a commit whose parents are there.
 */
export async function addedTo(
  { git }: Repository,
  call: GitCall,
  base: string,
  { commit, tree }: { readonly commit: string; readonly tree: string },
  { signal }: Options,
): Promise<readonly string[]> {
  const args = ['diff-tree', '-r', '-t', '-z', '--raw', '--no-renames', '--no-ext-diff', base, commit, '--'];
  const answer = (await git.run({ ...call, args }, { signal })).toString('latin1').split('\0');
  const added = new Map([
    [commit, ''],
    [tree, ''],
  ]);
  for (let at = 0; at + 1 < answer.length; at += 2) {
    const [, mode, , id] = (answer[at] ?? '').split(' ');
    // A submodule's commit is none of this repository.
    if (id !== undefined && mode !== submoduleMode && !/^0+$/.test(id)) added.set(id, answer[at + 1] ?? '');
  }
  // Deltas against what is there; a path with a newline in it is only a hint that is not given.
  return [`-${base}`, ...[...added].map(([id, path]) => (path.includes('\n') ? id : `${id} ${path}`))];
}

const submoduleMode = '160000';

/** How many trees that are there are looked through for what an unrelated commit has in common with them. */
const maxSeenTrees = 4;

/** As `pack-objects --revs` takes it: the commit and all before it, without what is there. */
export function revisionsOf({ commit, without }: PackPlan): readonly string[] {
  return [
    commit,
    ...without.map((id) => `^${id}`),
    // Of a commit that is no ancestor git looks at nothing but its history.
    ...without.slice(0, maxSeenTrees).map((id) => `^${id}^{tree}`),
  ];
}

/** Of each thread that looks for deltas. */
const boundedMemory = { 'pack.windowMemory': '32m', 'pack.deltaCacheSize': '32m' };

/** The pack as git makes it, anew each time that it is read; `told` hears of its bytes. */
export function packOf(
  { git }: Repository,
  call: GitCall,
  what: { readonly objects: readonly string[] } | { readonly revisions: readonly string[] },
  told: (bytes: number) => void,
  { signal }: Options,
): UploadSource {
  const lines = 'objects' in what ? what.objects : what.revisions;
  const args = [
    ...['pack-objects', '--stdout', '--delta-base-offset', '-q'],
    ...('objects' in what ? [] : ['--revs', '--thin']),
  ];
  return {
    again: true,
    async *read() {
      const input = [Buffer.from(`${lines.join('\n')}\n`, 'latin1')];
      const config = { ...call.config, ...streamedBlobs, ...boundedMemory };
      const pack = git.start({ ...call, config, args }, { input, signal });
      try {
        for await (const piece of pack.stdout as AsyncIterable<Uint8Array>) {
          told(piece.byteLength);
          yield piece;
        }
        await pack.done();
      } finally {
        // Nobody reads on: it would wait for ever.
        pack.kill();
      }
    },
  };
}
