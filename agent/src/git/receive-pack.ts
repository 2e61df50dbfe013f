import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { syncDir, writeDurable } from '@codex-remote/platform';
import { type Clock, RemoteError } from '@codex-remote/protocol/wire';
import type { DiskReserve } from '../exec/disk-reserve.ts';
import { lines, type Mirror } from './mirror.ts';
import { receivedRef, receivedRefs } from './refs.ts';

/** More is refused by git itself: nobody has meant to send it. */
const maxPackBytes = 64 * 1024 ** 3;
/** How often the free disk is looked at while a packfile comes in. */
const reserveEveryBytes = 16 * 1024 ** 2;
/** Refs of what was received that are kept: what a sender can build on. */
const keptReceived = 64;

/** A packfile as it comes in; `whole` throws `stream_cut` where its end did not come. */
export interface PackBody {
  pieces(): AsyncIterable<Uint8Array>;
  whole(): { readonly bytes: number; readonly sha256: string };
}

export interface PackOrder {
  readonly commit: string;
  /** Commits of the packfile whose parents the sender does not have. */
  readonly shallow: readonly string[];
}

export interface ReceiveWorld {
  readonly reserve: DiskReserve;
  readonly clock: Clock;
}

/** Names of folders that a receive leaves where it is ended in the middle. */
export const incomingPrefix = 'incoming-';

/**
 * Takes a packfile into a mirror that is there. Its objects lie apart until they are whole, on disk, and nothing of what
 * the commit reaches is missing; only then others see them. Not `--strict`: that refuses the histories of well-known
 * projects for blemishes of their old commits, and a checkout refuses by itself what must not become a file.
 *
 * Throws `stream_cut`, `git_failed`, `disk_low`, `cancelled`, and what `body` throws.
 */
export async function receivePack(
  mirror: Mirror,
  folder: string,
  order: PackOrder,
  body: PackBody,
  world: ReceiveWorld,
  signal: AbortSignal,
): Promise<string> {
  const incoming = join(folder, `${incomingPrefix}${randomBytes(9).toString('hex')}`);
  mkdirSync(incoming, { mode: 0o700 });
  try {
    const git = await mirror.git();
    const objects = { directory: incoming, alternates: [join(mirror.path, 'objects')] };
    const shallow = [...new Set([...mirror.shallow(), ...order.shallow])];
    const shallowFile = join(incoming, 'shallow');
    writeFileSync(shallowFile, shallow.map((id) => `${id}\n`).join(''));
    const given = { objects, shallowFile: shallow.length > 0 ? shallowFile : undefined };
    const call = (args: readonly string[]) => mirror.call(args, given);
    await git.run(call(['index-pack', '--stdin', '--fix-thin', `--max-input-size=${maxPackBytes}`]), {
      input: checked(body, world.reserve),
      signal,
    });
    await git.run(call(['rev-list', '--objects', '--quiet', '--stdin', '--not', '--all']), {
      input: lines([order.commit]),
      signal,
    });
    await moveIn(join(incoming, 'pack'), join(mirror.path, 'objects/pack'));
    if (order.shallow.length > 0 || mirror.shallow().length > 0) await noteShallow(mirror, shallow);
    const tree = await mirror.treeOf(order.commit);
    if (tree === undefined)
      throw new RemoteError('usage', `${order.commit} is no commit of what was sent`, { sent: 'yes' });
    await keep(mirror, order.commit, world.clock.wall());
    return tree;
  } finally {
    rmSync(incoming, { recursive: true, force: true });
  }
}

async function* checked(body: PackBody, reserve: DiskReserve): AsyncGenerator<Uint8Array> {
  const sha256 = createHash('sha256');
  let bytes = 0;
  let look = 0;
  for await (const piece of body.pieces()) {
    sha256.update(piece);
    bytes += piece.byteLength;
    if (bytes >= look) {
      reserve.check();
      look = bytes + reserveEveryBytes;
    }
    yield piece;
  }
  const said = body.whole();
  if (said.bytes !== bytes || said.sha256 !== sha256.digest('hex'))
    throw new RemoteError('stream_cut', 'the packfile is not what its sender says', { retryable: true });
}

/** An index is what makes its packfile seen: it comes last. */
async function moveIn(from: string, to: string): Promise<void> {
  mkdirSync(to, { recursive: true });
  const names = existsSync(from) ? readdirSync(from) : [];
  for (const name of names.sort((a, b) => Number(a.endsWith('.idx')) - Number(b.endsWith('.idx'))))
    renameSync(join(from, name), join(to, name));
  await syncDir(to);
}

/** Those of `ids` that have a parent which is not here; what has come since is shallow no more. */
async function noteShallow(mirror: Mirror, ids: readonly string[]): Promise<void> {
  const git = await mirror.git();
  const parents = new Map<string, string[]>();
  for (const id of await mirror.commitsOf(ids)) {
    const text = (await git.run(mirror.call(['cat-file', 'commit', id]))).toString('latin1');
    const head = text.slice(0, text.indexOf('\n\n'));
    parents.set(
      id,
      [...head.matchAll(/^parent ([0-9a-f]+)$/gm)].map((match) => match[1] ?? ''),
    );
  }
  const here = new Set(await mirror.commitsOf([...parents.values()].flat()));
  const shallow = [...parents].filter(([, of]) => of.some((id) => !here.has(id))).map(([id]) => id);
  const file = join(mirror.path, 'shallow');
  if (shallow.length === 0) rmSync(file, { force: true });
  else await writeDurable(file, shallow.map((id) => `${id}\n`).join(''));
}

/** Names the commit, so that it stays and others can build on it, and forgets the oldest of such names. */
async function keep(mirror: Mirror, commit: string, nowMs: number): Promise<void> {
  const git = await mirror.git();
  const call = mirror.call(['for-each-ref', '--format=%(refname)', '--sort=-refname', receivedRefs]);
  const known = (await git.run(call)).toString('utf8').split('\n').filter(Boolean);
  await mirror.updateRefs([
    `update ${receivedRef(nowMs, commit)} ${commit}`,
    ...known.slice(keptReceived - 1).map((ref) => `delete ${ref}`),
  ]);
}
