import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { constants, zstdCompressSync } from 'node:zlib';
import { encodeRecord, RemoteError, type SyncItem, streamId, syncLimits } from '@codex-remote/protocol/wire';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ContentMac, newMacKey } from '../../src/sync/content-mac.ts';
import { type Incoming, ItemWriter, type Report, readItems } from '../../src/sync/index.ts';
import { type Entry, ManifestEncoder } from '../../src/tree/index.ts';
import { TwoTrees, Way } from './two-trees.ts';

let trees: TwoTrees;
beforeEach(() => {
  trees = new TwoTrees();
  mkdirSync(trees.to);
  writeFileSync(join(trees.to, 'there'), 'as it was');
});
afterEach(() => trees.close());

const file = (path: string, size: number): Entry => ({ path, type: 'file', mode: 0o644, size, mtimeUs: 1 });
const big = syncLimits.maxSmallBytes + 1;
const key = newMacKey();
function macOf(bytes: Uint8Array): Buffer {
  const mac = new ContentMac(key);
  mac.update(bytes);
  return mac.digest();
}

/** What becomes of a target that hears `said` behind a manifest of `entries`. */
async function targetThatHears(
  entries: readonly Entry[],
  said: readonly SyncItem[],
): Promise<{ error: RemoteError | undefined; reports: Report[] }> {
  const [toTarget, toSource] = [new Way(), new Way()];
  const reports: Report[] = [];
  const target = trees.target(new ItemWriter((bytes) => toSource.send(bytes)), reports);
  const out = new ItemWriter((bytes) => toTarget.send(bytes));
  const encoder = new ManifestEncoder();
  const running = target.run(readItems(toTarget.read())).then(
    () => undefined,
    (error: unknown) => RemoteError.from(error),
  );
  await out.put({ kind: 'entries', bytes: encoder.encode(entries) });
  await out.put({ kind: 'entries_end', bytes: encoder.end() });
  await out.flush();
  // It has compared by the time it wants or is done.
  await toSource.read().next();
  for (const item of said) await out.put(item);
  await out.flush();
  toTarget.end();
  return { error: await running, reports };
}

test.each([
  [
    'the content of another entry',
    [file('a', 1), file('b', 1)],
    [{ kind: 'small', index: 1, bytes: Buffer.from('x') }],
  ],
  ['content before it says of what', [file('a', big)], [{ kind: 'data', bytes: Buffer.alloc(1) }]],
  [
    'more content than it told',
    [file('a', big)],
    [
      { kind: 'file', index: 0, from: 0, key },
      { kind: 'data', bytes: Buffer.alloc(big) },
      { kind: 'data', bytes: Buffer.alloc(1) },
    ],
  ],
  ['another beginning', [file('a', big)], [{ kind: 'file', index: 0, from: 5, key }]],
  ['what targets say', [file('a', 1)], [{ kind: 'want', index: 0, from: 0 }]],
] satisfies [string, Entry[], SyncItem[]][])(
  'a source that says %s is not heard, and nothing is changed [row 95]',
  async (_, entries, said) => {
    expect((await targetThatHears(entries, said)).error).toMatchObject({ code: 'protocol_error' });
    expect(readdirSync(trees.to).filter((name) => !name.startsWith('.cr-'))).toEqual(['there']);
  },
);

test('a content that is not what its MAC says takes no place', async () => {
  const bytes = Buffer.alloc(big, 'a');
  const { reports } = await targetThatHears(
    [file('there', big)],
    [
      { kind: 'file', index: 0, from: 0, key },
      { kind: 'data', bytes },
      { kind: 'end', mac: macOf(Buffer.alloc(big, 'b')) },
    ],
  );
  expect(reports).toEqual([expect.objectContaining({ do: 'refuse', path: 'there', code: 'file_changed' })]);
  expect(readdirSync(trees.to)).toEqual(['there']);
});

test('a copy of what is not there is refused, and the next file arrives', async () => {
  const { error, reports } = await targetThatHears(
    [file('a', big), file('b', 1)],
    [
      { kind: 'file', index: 0, from: 0, key },
      { kind: 'copy', offset: 2 ** 40, length: big },
      { kind: 'end', mac: macOf(Buffer.alloc(1)) },
      { kind: 'small', index: 1, bytes: Buffer.from('b') },
    ],
  );
  expect(error).toBeUndefined();
  expect(reports.map(({ do: done, path }) => `${done} ${path}`)).toEqual(['refuse a', 'send b']);
});

test('a source that tells without end is stopped [row 95]', async () => {
  const [toTarget, toSource] = [new Way(), new Way()];
  const target = trees.target(new ItemWriter((bytes) => toSource.send(bytes)), []);
  const running = target.run(readItems(toTarget.read())).catch((error: unknown) => error);
  const out = new ItemWriter((bytes) => toTarget.send(bytes));
  const encoder = new ManifestEncoder();
  const entries = Array.from({ length: 4 * syncLimits.maxEntriesAhead }, (_, i) =>
    file(String(i).padStart(9, '0'), 1),
  );
  const bytes = encoder.encode(entries);
  for (let at = 0; at < bytes.byteLength; at += syncLimits.maxDataBytes)
    await out.put({ kind: 'entries', bytes: bytes.subarray(at, at + syncLimits.maxDataBytes) });
  await out.flush();
  expect(await running).toMatchObject({ code: 'protocol_error' });
});

async function all(way: Way): Promise<Incoming[]> {
  const items: Incoming[] = [];
  for await (const item of readItems(way.read())) items.push(item);
  return items;
}

const block = (encoding: number, raw: number, payload: Uint8Array, length = payload.byteLength): Buffer => {
  const header = Buffer.alloc(9);
  header.writeUInt8(encoding, 0);
  header.writeUInt32BE(raw, 1);
  header.writeUInt32BE(length, 5);
  return Buffer.concat([header, payload]);
};
const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024), {
  params: { [constants.ZSTD_c_compressionLevel]: 1 },
});

test.each([
  ['unpacks to more than it says', block(1, syncLimits.maxBlockBytes, bomb)],
  ['unpacks to less than it says', block(1, 1000, zstdCompressSync(Buffer.alloc(500)))],
  ['says that it is larger than any', block(0, 2 ** 32 - 1, Buffer.alloc(0), 2 ** 32 - 1)],
  ['is packed in a way that nobody knows', block(2, 10, Buffer.alloc(5))],
  ['is not what it says that it is', block(1, 10, Buffer.alloc(5))],
  ['is empty', block(0, 0, Buffer.alloc(0))],
])('a block that %s is a protocol_error before there is room for it [row 95]', async (_, bytes) => {
  const way = new Way();
  await way.send(encodeRecord({ kind: 'data', stream: streamId.content, offset: 0, bytes }));
  way.end();
  await expect(all(way)).rejects.toMatchObject({ code: 'protocol_error' });
});

test('records of another stream, or out of order, are a protocol_error', async () => {
  for (const record of [
    { kind: 'data', stream: streamId.stdin, offset: 0, bytes: Buffer.alloc(1) },
    { kind: 'data', stream: streamId.content, offset: 5, bytes: Buffer.alloc(1) },
    { kind: 'gap', stream: streamId.content, offset: 0, missing: 1 },
  ] as const) {
    const way = new Way();
    await way.send(encodeRecord(record));
    way.end();
    await expect(all(way)).rejects.toMatchObject({ code: 'protocol_error' });
  }
});
