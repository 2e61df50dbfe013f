import type { ArtifactFile } from '@codex-remote/protocol/schema';
import { RemoteError } from '@codex-remote/protocol/wire';
import { type AutorunKind, autorunKind } from '../apply/autorun.ts';
import { refusedName } from '../apply/names.ts';
import { type ArtifactClient, type ArtifactsOf, bytesOfPath } from './artifact-client.ts';
import type { Destination, InTheWay } from './destination.ts';

/** Files that are on their way at the same time. */
const atOnce = 4;

export interface FetchOrder extends ArtifactsOf {
  readonly files: readonly ArtifactFile[];
  /** What is there in another content is replaced. */
  readonly force: boolean;
  /** Files that act by themselves come too. */
  readonly autorun: boolean;
}

/** What became of one. `same`: it was there already. */
export type Fate =
  | { readonly kind: 'fetched' | 'same' }
  | { readonly kind: 'refused'; readonly why: 'git' | 'outside' | InTheWay }
  | { readonly kind: 'held_back'; readonly why: AutorunKind };

export interface FetchOptions {
  readonly signal?: AbortSignal | undefined;
  /** Bytes that have come, as they come. */
  readonly received?: (bytes: number) => void;
}

/**
 * Files of the list into a folder; gives what became of each, in their order. What a machine calls them is untrusted: nothing
 * is written outside of the folder, to git's own files, or where it would act by itself. A file is there whole or not at all,
 * in the content that its list says. Throws what the controller and the folder do; then `Destination.discard` is for the owner.
 */
export async function fetchArtifacts(
  client: Pick<ArtifactClient, 'read'>,
  destination: Destination,
  order: FetchOrder,
  options: FetchOptions = {},
): Promise<Fate[]> {
  const fates: Fate[] = [];
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const queue = order.files.entries();
  const work = async (): Promise<void> => {
    for (const [index, file] of queue)
      fates[index] = await fetchOne(client, destination, order, file, { ...options, signal });
  };
  try {
    await Promise.all(Array.from({ length: atOnce }, work));
  } finally {
    stop.abort(new RemoteError('cancelled', 'another file could not be fetched'));
  }
  return fates;
}

async function fetchOne(
  client: Pick<ArtifactClient, 'read'>,
  destination: Destination,
  order: FetchOrder,
  file: ArtifactFile,
  { signal, received }: FetchOptions,
): Promise<Fate> {
  const path = bytesOfPath(file);
  const refused = refusedName(path.toString('latin1'));
  if (refused) return { kind: 'refused', why: refused };
  const acts = order.autorun ? undefined : autorunKind(path.toString());
  if (acts) return { kind: 'held_back', why: acts };
  const wanted = { path, size: file.size, sha256: file.sha256 };
  const there = await destination.look(wanted);
  if (there === 'same') return { kind: 'same' };
  if (there === 'blocked' || (there && !order.force)) return { kind: 'refused', why: there };
  const coming = await destination.begin(wanted);
  if (!coming) return { kind: 'refused', why: 'blocked' };
  try {
    for await (const part of client.read(order, path, { signal })) {
      if (part.kind !== 'data') continue;
      await coming.write(part.bytes);
      received?.(part.bytes.byteLength);
    }
    const inTheWay = await coming.place(file.mode ?? 0o666, order.force);
    return inTheWay ? { kind: 'refused', why: inTheWay } : { kind: 'fetched' };
  } finally {
    await coming.drop();
  }
}
