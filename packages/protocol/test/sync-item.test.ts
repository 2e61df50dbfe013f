import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  RemoteError,
  readSyncItems,
  type SyncItem,
  syncItemBytes,
  syncItemHeaderBytes,
  syncItemKind,
  syncJsonItem,
  syncLimits,
  syncMacBytes,
  writeSyncItem,
} from '../src/wire/index.ts';

const bytes = fc.uint8Array({ maxLength: 300 });
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const u53 = fc.maxSafeNat();
const mac = fc.uint8Array({ minLength: syncMacBytes, maxLength: syncMacBytes });
const item: fc.Arbitrary<SyncItem> = fc.oneof(
  ...(['rules', 'rules_end', 'entries', 'entries_end', 'data'] as const).map((kind) =>
    bytes.map((piece) => ({ kind, bytes: piece })),
  ),
  fc.uint8Array({ minLength: 72, maxLength: 72 }).map((piece) => ({ kind: 'chunks' as const, bytes: piece })),
  fc.record({ kind: fc.constant('want' as const), index: u32, from: u53 }),
  fc.record({ kind: fc.constant('file' as const), index: u32, from: u53, key: mac }),
  fc.record({ kind: fc.constant('copy' as const), offset: u53, length: u53 }),
  fc.record({ kind: fc.constant('small' as const), index: u32, bytes }),
  fc.record({ kind: fc.constant('compared' as const), count: u32 }),
  mac.map((bytes) => ({ kind: 'end' as const, mac: bytes })),
  fc.record({
    kind: fc.constantFrom('lost' as const, 'report' as const, 'progress' as const, 'result' as const),
    value: fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value))),
  }),
);

function encode(items: readonly SyncItem[]): Uint8Array {
  const blocks = items.map((one) => {
    if ('value' in one) return syncJsonItem(one.kind, one.value);
    const block = new Uint8Array(syncItemBytes(one));
    expect(writeSyncItem(block, 0, one)).toBe(block.byteLength);
    return block;
  });
  return new Uint8Array(Buffer.concat(blocks));
}

/** Views become arrays of their own. */
function plain(items: Iterable<SyncItem>): unknown[] {
  return [...items].map((one) => JSON.parse(JSON.stringify(one, (_, value) => asArray(value))));
}

function asArray(value: unknown): unknown {
  return value instanceof Uint8Array ? [...value] : value;
}

test('items come out of a block as they went in', () => {
  fc.assert(
    fc.property(fc.array(item, { maxLength: 20 }), (items) => {
      expect(plain(readSyncItems(encode(items)))).toEqual(plain(items));
    }),
    { numRuns: 300 },
  );
});

test('whatever bytes come: items or protocol_error, and nothing else', () => {
  const mutated = fc.tuple(fc.array(item, { minLength: 1, maxLength: 5 }), fc.nat(), fc.nat(255), fc.nat());
  fc.assert(
    fc.property(mutated, ([items, at, value, cut]) => {
      const block = encode(items);
      block[at % block.byteLength] = value;
      try {
        for (const one of readSyncItems(block.subarray(0, cut % (block.byteLength + 1)))) void one;
      } catch (error) {
        expect(RemoteError.from(error).code).toBe('protocol_error');
      }
    }),
    { numRuns: 1000 },
  );
});

test.each([
  ['a kind that nobody knows', [99, 0, 0, 0, 0]],
  ['more than the block has', [syncItemKind.data, 0, 0, 1, 0, 1]],
  ['half a header', [syncItemKind.data, 0]],
  ['a want without its position', [syncItemKind.want, 0, 0, 0, 4, 0, 0, 0, 0]],
  ['a position beyond 2^53', [syncItemKind.want, 0, 0, 0, 12, 0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0]],
  ['half a piece', [syncItemKind.chunks, 0, 0, 0, 1, 0]],
  ['a report that is no JSON', [syncItemKind.report, 0, 0, 0, 1, 0x7b]],
] as const)('%s is a protocol_error', (_, block) => {
  expect(() => [...readSyncItems(Uint8Array.from(block))]).toThrow(
    expect.objectContaining({ code: 'protocol_error' }),
  );
});

test('an item that is longer than its kind may be is a protocol_error, whoever made room for it', () => {
  for (const [kind, limit] of [
    ['data', syncLimits.maxDataBytes],
    ['entries', syncLimits.maxDataBytes],
    ['small', syncLimits.maxSmallBytes + 4],
    ['report', syncLimits.maxReportBytes],
  ] as const) {
    const block = new Uint8Array(syncItemHeaderBytes + limit + 1);
    block[0] = syncItemKind[kind];
    new DataView(block.buffer).setUint32(1, limit + 1);
    expect(() => [...readSyncItems(block)], kind).toThrow(
      expect.objectContaining({ code: 'protocol_error' }),
    );
  }
});
