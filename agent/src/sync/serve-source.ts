import { encodeReport, Source } from '@codex-remote/platform/sync';
import { bytePath, scanTree, TreeReader } from '@codex-remote/platform/tree';
import type { SyncOrder, SyncTalk } from './serve-target.ts';

/** `sync.pull`: tells the tree in `root` and sends what is asked for of it. Throws what ends it; then its caller resets the channel. */
export async function serveSource(order: SyncOrder, { out, incoming, signal }: SyncTalk): Promise<void> {
  const root = bytePath(order.root);
  const { ignore, checksum, rules } = order;
  const reader = new TreeReader(root);
  try {
    const entries = scanTree(root, {
      ignore,
      checksum,
      ignoreTexts: ignore && order.delete,
      rules,
      signal,
      skipped: (path, why, how) => void out.putEncoded(encodeReport({ do: how, path, why })),
    });
    const source = new Source(entries, reader, out);
    await source.run(incoming, () => undefined);
    await out.finish({ end: { entries: source.progress.entries } });
  } finally {
    reader.close();
  }
}
