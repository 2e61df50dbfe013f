import {
  type Action,
  bytePath,
  type CompareOptions,
  compareTree,
  type Entry,
  ManifestEncoder,
  ManifestParser,
  type ScanOptions,
  scanTree,
  TreeReader,
  TreeWriter,
} from '@codex-remote/platform/tree';

export interface Sync extends Partial<CompareOptions> {
  readonly scan?: Partial<ScanOptions>;
  readonly dryRun?: boolean;
  /** Files of more bytes are sent in pieces. */
  readonly small?: number;
}

/** Makes `to` the tree `from`, without a wire between them but through a manifest. Gives what was done and what failed. */
export async function synced(
  from: string,
  to: string,
  sync: Sync = {},
): Promise<(Action & { error?: string })[]> {
  const { scan, dryRun = false, small = 4096, ...options } = sync;
  const compare: CompareOptions = { ignore: true, delete: false, ...options };
  const { ignore, rules, checksum } = compare;
  const scanned = scanTree(bytePath(from), {
    ignore,
    rules,
    checksum,
    ignoreTexts: compare.delete,
    ...scan,
  });
  return applied(from, to, manifested(scanned), { ...compare, dryRun, small });
}

async function* manifested(batches: AsyncIterable<readonly Entry[]>): AsyncGenerator<readonly Entry[]> {
  const encoder = new ManifestEncoder();
  const parser = new ManifestParser();
  for await (const batch of batches) yield parser.push(encoder.encode(batch));
  yield parser.push(encoder.end());
  parser.end();
}

export async function applied(
  from: string,
  to: string,
  source: AsyncIterable<readonly Entry[]>,
  { dryRun, small, ...compare }: CompareOptions & { dryRun: boolean; small: number },
): Promise<(Action & { error?: string })[]> {
  const reader = new TreeReader(bytePath(from));
  const writer = dryRun ? undefined : new TreeWriter(bytePath(to));
  const done: (Action & { error?: string })[] = [];
  try {
    for await (const actions of compareTree(bytePath(to), source, compare))
      for (const action of actions) {
        const failure = writer && (await act(action, reader, writer, small));
        done.push(failure === undefined ? action : { ...action, error: failure });
      }
  } finally {
    await writer?.close();
    reader.close();
  }
  return done;
}

async function act(
  action: Action,
  reader: TreeReader,
  writer: TreeWriter,
  small: number,
): Promise<string | undefined> {
  try {
    if (action.do === 'make') writer.makeDirectory(action.entry);
    else if (action.do === 'chmod') writer.chmod(action.entry);
    else if (action.do === 'link') writer.link(action.entry);
    else if (action.do === 'remove') writer.remove(action.path);
    else if (action.do === 'send' && action.entry.size <= small)
      writer.writeSmall(action.entry, reader.readSmall(action.entry));
    else if (action.do === 'send') await send(action.entry, reader, writer);
    return undefined;
  } catch (error) {
    return String((error as { code?: unknown }).code);
  }
}

async function send(entry: Entry, reader: TreeReader, writer: TreeWriter): Promise<void> {
  const file = await reader.openFile(entry);
  const from = writer.partBytes(entry);
  const staged = await writer.stage(entry, from);
  try {
    const bytes = await file.readFile();
    for (let at = from; at < bytes.byteLength; at += 1000) await staged.write(bytes.subarray(at, at + 1000));
    await staged.commit();
  } finally {
    await staged.leave();
    await file.close();
  }
}
