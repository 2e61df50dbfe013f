import type { ChangedFile } from '@codex-remote/protocol/schema';
import { lines, type Mirror } from './mirror.ts';

/** Options by which neither configuration nor attributes of a repository decide what a diff is. */
const plain = ['-r', '--no-renames', '--no-ext-diff', '--no-textconv', '--no-color', '--full-index'];

/** Files that are looked at with one run of git. */
const filesAtOnce = 512;

const statuses: Readonly<Record<string, ChangedFile['status']>> = {
  A: 'added',
  D: 'deleted',
  M: 'modified',
  T: 'type_changed',
};

/** Between two trees of a mirror. */
export interface TreePair {
  readonly tree: string;
  readonly result: string;
}

/** Command of git that writes the patch. */
export function patchArgs({ tree, result }: TreePair): string[] {
  return ['diff-tree', ...plain, '-p', '--binary', '--src-prefix=a/', '--dst-prefix=b/', tree, result];
}

/**
 * What is another in the second tree, by the bytes of the paths, from the file `from` on; however many there are, only some
 * are held at once. Throws `git_failed`, `cancelled`.
 */
export async function* changedFiles(
  mirror: Mirror,
  { tree, result }: TreePair,
  from: number,
  signal: AbortSignal,
): AsyncGenerator<ChangedFile[], void, void> {
  const git = await mirror.git();
  const start = (what: string) =>
    git.start(mirror.call(['diff-tree', ...plain, what, '-z', tree, result]), { signal });
  const [raw, numstat] = [start('--raw'), start('--numstat')];
  try {
    const counts = new Counts(words(numstat.stdout));
    let page: RawChange[] = [];
    let index = 0;
    for await (const change of rawChanges(words(raw.stdout))) {
      const counted = await counts.of(change.path);
      if (index++ < from) continue;
      page.push({ ...change, ...counted });
      if (page.length < filesAtOnce) continue;
      yield await sized(mirror, page, signal);
      page = [];
    }
    await Promise.all([raw.done(), numstat.done()]);
    if (page.length > 0) yield await sized(mirror, page, signal);
  } finally {
    raw.kill();
    numstat.kill();
  }
}

interface RawChange {
  /** Its bytes, as latin1. */
  readonly path: string;
  readonly status: ChangedFile['status'];
  readonly old_mode?: string;
  readonly old_id?: string;
  readonly new_mode?: string;
  readonly new_id?: string;
  readonly added_lines?: number;
  readonly deleted_lines?: number;
}

/** `:100644 100755 <id> <id> M`, then the path. */
async function* rawChanges(from: AsyncIterable<string>): AsyncGenerator<RawChange, void, void> {
  let meta: string | undefined;
  for await (const word of from) {
    if (meta === undefined) {
      meta = word;
      continue;
    }
    const [oldMode = '', new_mode = '', old_id = '', new_id = '', letter = ''] = meta.slice(1).split(' ');
    const status = statuses[letter[0] ?? ''] ?? 'modified';
    yield {
      path: word,
      status,
      ...(status !== 'added' && { old_mode: oldMode, old_id }),
      ...(status !== 'deleted' && { new_mode, new_id }),
    };
    meta = undefined;
  }
}

/** Lines that came and went, in the order of the paths; `-` for what is no text. */
class Counts {
  readonly #words: AsyncIterator<string>;
  #head: IteratorResult<string> | undefined;

  constructor(from: AsyncIterable<string>) {
    this.#words = from[Symbol.asyncIterator]();
  }

  /** Nothing for a path that git counts nothing of. */
  async of(path: string): Promise<Pick<RawChange, 'added_lines' | 'deleted_lines'>> {
    this.#head ??= await this.#words.next();
    if (this.#head.done) return {};
    const [added = '', deleted = '', ...name] = this.#head.value.split('\t');
    if (name.join('\t') !== path) return {};
    this.#head = undefined;
    return added === '-' ? {} : { added_lines: Number(added), deleted_lines: Number(deleted) };
  }
}

async function sized(
  mirror: Mirror,
  changes: readonly RawChange[],
  signal: AbortSignal,
): Promise<ChangedFile[]> {
  const ids = changes.flatMap(({ old_id, new_id }) => [old_id, new_id].filter((id) => id !== undefined));
  const call = mirror.call(['cat-file', '--batch-check=%(objectname) %(objectsize)']);
  const answer = await (await mirror.git()).run(call, { input: lines(ids), signal });
  const sizes = new Map(
    answer
      .toString('latin1')
      .split('\n')
      .flatMap((line) => {
        const [id = '', size = ''] = line.split(' ');
        // A commit of a submodule is not here.
        return /^\d+$/.test(size) ? [[id, Number(size)] as const] : [];
      }),
  );
  return changes.map(({ path, ...change }) => {
    const [old_size, new_size] = [sizes.get(change.old_id ?? ''), sizes.get(change.new_id ?? '')];
    return {
      ...named(path),
      ...change,
      ...(old_size !== undefined && { old_size }),
      ...(new_size !== undefined && { new_size }),
    };
  });
}

function named(path: string): Pick<ChangedFile, 'path' | 'path_b64'> {
  const bytes = Buffer.from(path, 'latin1');
  const text = bytes.toString();
  return Buffer.from(text).equals(bytes) ? { path: text } : { path_b64: bytes.toString('base64') };
}

/** What stands before each NUL, as latin1. */
async function* words(from: AsyncIterable<Buffer>): AsyncGenerator<string, void, void> {
  let rest = '';
  for await (const piece of from) {
    const parts = (rest + piece.toString('latin1')).split('\0');
    rest = parts.pop() ?? '';
    yield* parts;
  }
}
