import { encodeReport, type Incoming, type ItemWriter, Target } from '@codex-remote/platform/sync';
import { bytePath, compareTree, TreeWriter } from '@codex-remote/platform/tree';
import type { SyncParams, SyncRules } from '@codex-remote/protocol/schema';

export interface SyncTalk {
  readonly out: ItemWriter;
  /** Behind the rules. */
  readonly incoming: AsyncIterable<Incoming>;
  /** Aborted when nobody is there any more. */
  readonly signal: AbortSignal;
}

export type SyncOrder = Omit<SyncParams, 'path'> & SyncRules & { readonly root: Buffer };

/** `sync.push`: the tree in `root` becomes what the other side tells. Throws what ends it; then its caller resets the channel. */
export async function serveTarget(order: SyncOrder, { out, incoming, signal }: SyncTalk): Promise<void> {
  const root = bytePath(order.root);
  const { ignore, checksum, rules } = order;
  const target = new Target({
    compare: (source) => compareTree(root, source, { ignore, checksum, delete: order.delete, rules, signal }),
    writer: order.dry_run ? undefined : new TreeWriter(root),
    out,
    report: (report) => {
      if (order.verbose || report.do === 'refuse' || report.do === 'skip')
        void out.putEncoded(encodeReport(report));
    },
  });
  await out.finish({ end: await target.run(incoming) });
}
