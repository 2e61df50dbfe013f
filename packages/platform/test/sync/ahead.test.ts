import { type SyncItem, syncLimits } from '@codex-remote/protocol/wire';
import { expect, test } from 'vitest';
import { ItemWriter, readItems, Source, type SourceFiles, Target } from '../../src/sync/index.ts';
import type { Action, Entry, TreeWriter } from '../../src/tree/index.ts';
import { Way } from './two-trees.ts';

const size = 3;
const entryAt = (i: number): Entry => ({
  path: `f${String(i).padStart(9, '0')}`,
  type: 'file',
  mode: 0o644,
  size,
  mtimeUs: i,
});

/** A tree of files that are nowhere. */
async function* entries(count: number, told: (batch: number) => void): AsyncGenerator<Entry[], void, void> {
  for (let at = 0; at < count; at += 500) {
    told(Math.min(500, count - at));
    yield Array.from({ length: Math.min(500, count - at) }, (_, i) => entryAt(at + i));
  }
}

const files = { readSmall: () => Buffer.from('abc') } as unknown as SourceFiles;

async function* wantAll(source: AsyncIterable<readonly Entry[]>): AsyncGenerator<Action[], void, void> {
  for await (const batch of source) yield batch.map((entry) => ({ do: 'send' as const, entry }));
}

test('of a tree of any size a bounded part is held, and each file is sent once', async () => {
  const count = 60_000;
  const [toTarget, toSource] = [new Way(), new Way()];
  let [told, most] = [0, 0];
  const written: string[] = [];
  const writer = {
    partBytes: () => 0,
    writeSmall: ({ path }: Entry) => written.push(path),
    close: () => undefined,
  } as unknown as TreeWriter;
  const source = new Source(
    entries(count, (batch) => {
      told += batch;
      most = Math.max(most, told - written.length);
    }),
    files,
    new ItemWriter((bytes) => toTarget.send(bytes)),
  );
  const target = new Target({
    compare: wantAll,
    writer,
    out: new ItemWriter((bytes) => toSource.send(bytes)),
    report: () => undefined,
  });
  const [result, counts] = await Promise.all([
    source.run(readItems(toSource.read()), () => undefined),
    target.run(readItems(toTarget.read())),
  ]);
  expect(result).toEqual(counts);
  expect(counts).toMatchObject({ entries: count, files: count, unchanged: 0, bytes: count * size });
  expect(written).toEqual(Array.from({ length: count }, (_, i) => entryAt(i).path));
  expect(most).toBeLessThan(2 * syncLimits.maxEntriesAhead);
});

/** A source that tells `count` entries and hears `said`; gives how it ended. */
async function sourceThatHears(count: number, said: readonly SyncItem[]): Promise<unknown> {
  const [toTarget, toSource] = [new Way(), new Way()];
  const source = new Source(
    entries(count, () => undefined),
    files,
    new ItemWriter((bytes) => toTarget.send(bytes)),
  );
  const running = source.run(readItems(toSource.read()), () => undefined).catch((error: unknown) => error);
  // Told by now: a target says nothing before it has heard something.
  await toTarget.read().next();
  const out = new ItemWriter((bytes) => toSource.send(bytes));
  for (const item of said) await out.put(item);
  await out.flush();
  return running;
}

test.each([
  ['a file that it was not told of', [{ kind: 'want', index: 7, from: 0 }]],
  [
    'a file twice',
    [
      { kind: 'want', index: 1, from: 0 },
      { kind: 'want', index: 1, from: 0 },
    ],
  ],
  ['what is behind the end of a file', [{ kind: 'want', index: 0, from: size + 1 }]],
  [
    'a file that it had compared',
    [
      { kind: 'compared', count: 5 },
      { kind: 'want', index: 2, from: 0 },
    ],
  ],
  ['to have compared more than there is', [{ kind: 'compared', count: 6 }]],
  ['content', [{ kind: 'data', bytes: Buffer.from('x') }]],
] satisfies [string, SyncItem[]][])(
  'a target that wants or says %s gets nothing [row 95]',
  async (_, said) => {
    expect(await sourceThatHears(5, said)).toMatchObject({ code: 'protocol_error' });
  },
);
