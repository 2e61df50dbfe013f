import type { GitCall } from '@codex-remote/platform/git';
import { RemoteError } from '@codex-remote/protocol/wire';
import { type Commit, readCommit } from './commit.ts';
import type { GitClient, MirrorAddress } from './git-client.ts';
import { leftOutOf } from './left-out.ts';
import { addedTo, knownOf, packOf, revisionsOf, shallowOf } from './pack.ts';
import type { Repository } from './repository.ts';
import { type Snapshot, snapshotOf, storedIn, worktreeRef } from './snapshot.ts';
import type { SnapshotStore } from './snapshot-store.ts';

export interface BringOrder {
  readonly repository: Repository;
  readonly store: SnapshotStore;
  readonly git: GitClient;
  readonly address: MirrorAddress;
  /** A branch, tag or commit of the repository, or `WORKTREE`. */
  readonly ref: string;
  readonly includeLarge: boolean;
  /** Hears of bytes of the pack as they are sent, those that are sent again too. */
  readonly sending?: (bytes: number) => void;
  readonly signal?: AbortSignal | undefined;
}

export interface Brought {
  readonly commit: string;
  readonly tree: string;
  readonly dirty: boolean;
  readonly base?: string;
  /** What is not in the commit though it belongs to the files, in sentences. */
  readonly leftOut: readonly string[];
  /** Of the pack that was sent; 0 where the machine had all of it. */
  readonly sentBytes: number;
}

type Have = Awaited<ReturnType<GitClient['have']>>;

/** Repeated without what the machine says that it has: its mirror may have lost a part of that. */
const incomplete: ReadonlySet<string> = new Set(['git_failed', 'commit_missing']);

/**
 * Makes a commit of this host be in the mirror of a machine: what is there already is not sent. Throws what `Repository` and
 * `snapshotOf` throw, before anything is sent, and what the machine says.
 */
export async function bring(order: BringOrder): Promise<Brought> {
  const { repository, store, ref, address, git, signal } = order;
  const call = await repository.call();
  const meant =
    ref === worktreeRef
      ? await readCommit(repository.git, call, 'HEAD', { signal })
      : await repository.commit(ref, { signal });
  const [found, early] = await Promise.all([
    ref === worktreeRef ? snapshotOf(repository, store, order) : plain(meant),
    meant && git.have(address, [meant.commit], { signal }),
  ]);
  const have = early ?? (await git.have(address, [found.commit], { signal }));
  const { commit, tree, dirty, base } = found;
  const seen = store.exists ? { ...call, ...storedIn(store, repository) } : call;
  const [leftOut, sentBytes] = await Promise.all([
    leftOutOf(repository, seen, commit, found.nested, { signal }),
    send(order, seen, found, have),
  ]);
  return { commit, tree, dirty, ...(base !== undefined && { base }), leftOut, sentBytes };
}

function plain(meant: Commit | undefined): Snapshot {
  if (!meant) throw new Error('a ref that means nothing was let through');
  return { commit: meant.commit, tree: meant.tree, dirty: false, nested: [] };
}

/** Bytes that were sent. */
async function send(order: BringOrder, call: GitCall, found: Snapshot, { has, tips }: Have): Promise<number> {
  const { commit, base, dirty } = found;
  if (has.includes(commit) || tips.includes(commit)) return 0;
  const { repository, signal } = order;
  const without = await knownOf(repository, call, [...new Set([...tips, ...has])], { signal });
  const near = without.at(0);
  try {
    // A snapshot has one parent: where that is there, the newest that is there is the nearest.
    if (dirty && base !== undefined && near !== undefined && has.includes(base)) {
      const objects = await addedTo(repository, call, near, found, { signal });
      return await sendPack(order, call, found, { objects }, []);
    }
    return await sendHistory(order, call, found, without);
  } catch (error) {
    if (without.length === 0 || !incomplete.has(RemoteError.from(error).code) || signal?.aborted) throw error;
    return sendHistory(order, call, found, []);
  }
}

async function sendHistory(
  order: BringOrder,
  call: GitCall,
  found: Snapshot,
  without: readonly string[],
): Promise<number> {
  const plan = { commit: found.commit, without };
  const shallow = await shallowOf(order.repository, call, plan, { signal: order.signal });
  return sendPack(order, call, found, { revisions: revisionsOf(plan) }, shallow);
}

async function sendPack(
  { repository, git, address, sending, signal }: BringOrder,
  call: GitCall,
  { commit, tree }: Snapshot,
  what: Parameters<typeof packOf>[2],
  shallow: readonly string[],
): Promise<number> {
  let bytes = 0;
  const told = (count: number): void => {
    bytes += count;
    sending?.(count);
  };
  const pack = packOf(repository, call, what, told, { signal });
  const order = { commit, objectFormat: repository.objectFormat, shallow };
  const placed = await git.receive(address, order, pack, { signal });
  if (placed.commit !== commit || placed.tree !== tree)
    throw new RemoteError(
      'protocol_error',
      'the machine answers for another commit than the one that was sent',
      {
        machine: address.machine,
      },
    );
  return bytes;
}
