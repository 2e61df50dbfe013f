import { putRules, type Report, readReport, Source, Target } from '@codex-remote/platform/sync';
import { bytePath, compareTree, scanTree, TreeReader, TreeWriter } from '@codex-remote/platform/tree';
import type { SyncCounts } from '@codex-remote/protocol/schema';
import type { Conversation } from './conversation.ts';
import { readCounts, type SyncOrder, type SyncProgress } from './order.ts';

/** One pass over two trees: what it does is done for good, however it ends. */
export interface Pass {
  /** Throws what ended it. */
  run(): Promise<void>;
  /** As far as it is known to be done. */
  counts(): SyncCounts;
  progress(): Omit<SyncProgress, 'phase'>;
}

/** The tree here is told, the machine compares and asks. */
export function pushPass(
  order: SyncOrder,
  talk: Conversation,
  report: (report: Report) => void,
  changed: () => void,
): Pass {
  const root = bytePath(order.local);
  const reader = new TreeReader(root);
  const { ignore, checksum, rules, signal } = order;
  const entries = scanTree(root, {
    ignore,
    checksum,
    rules,
    signal,
    ignoreTexts: ignore && order.delete,
    skipped: (path, why, how) => report({ do: how, path, why }),
  });
  const source = new Source(entries, reader, talk.out, changed);
  return {
    async run() {
      try {
        await putRules(talk.out, { rules });
        await source.run(talk.incoming, (value) => report(readReport(value)));
        await talk.finish();
      } finally {
        reader.close();
      }
    },
    counts: () => readCounts(source.done),
    progress: () => {
      const { entries: told, files, bytes, filesWanted, bytesWanted } = source.progress;
      return { entries: told, files, bytes, filesTotal: filesWanted, bytesTotal: bytesWanted };
    },
  };
}

/** The machine tells its tree, and is asked for what is not here. */
export function pullPass(
  order: SyncOrder,
  talk: Conversation,
  report: (report: Report) => void,
  changed: () => void,
): Pass {
  const root = bytePath(order.local);
  const { ignore, checksum, rules, signal, heldBack } = order;
  let target: Target | undefined;
  return {
    async run() {
      await putRules(talk.out, { rules });
      await talk.out.flush();
      // Nothing is made here before the other side has something to tell.
      const first = await talk.incoming.next();
      target = new Target({
        compare: (source) =>
          compareTree(root, source, { ignore, checksum, delete: order.delete, rules, signal, heldBack }),
        writer: order.dryRun ? undefined : new TreeWriter(root),
        out: talk.out,
        report: (told) => {
          if (order.verbose || order.dryRun || told.do === 'refuse' || told.do === 'skip') report(told);
        },
        changed,
      });
      await target.run(withFirst(first, talk.incoming));
      await talk.finish();
    },
    counts: () => readCounts(target?.counts),
    progress: () => ({
      entries: target?.counts.entries ?? 0,
      files: target?.counts.files ?? 0,
      bytes: target?.arrivedBytes ?? 0,
      filesTotal: target?.wanted.files ?? 0,
      bytesTotal: target?.wanted.bytes ?? 0,
    }),
  };
}

async function* withFirst<T>(
  first: IteratorResult<T, void>,
  rest: AsyncIterator<T, void, void>,
): AsyncGenerator<T, void, void> {
  if (first.done) return;
  yield first.value;
  for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
}
