import { broken } from './decode.ts';
import { RemoteError } from './errors.ts';

/**
 * What is said while two trees are made alike. The *source* has the tree as it is to be and tells its names, the *target*
 * compares and asks for what it lacks, by the place that a name had in the telling. Each item is
 *
 *   0      1         5
 *   | kind | length  | payload (length bytes)
 *   | u8   | u32 BE  |
 *
 * Items travel in blocks, of which each holds whole ones:
 *
 *   0          1            5         9
 *   | encoding | raw length | length  | the items, as they are (0) or as one zstd frame (1)
 *   | u8       | u32 BE     | u32 BE  |
 */
export const syncItemKind = {
  /** Controller, before anything else: pieces of the JSON of a `SyncRules`, and the last one. */
  rules: 32,
  rules_end: 33,
  /** Source: the next piece of its manifest. */
  entries: 1,
  /** Source: the last piece. */
  entries_end: 2,
  /** Source: the content of the entry `index`, which was asked for next, begins; the key of its MAC. */
  file: 3,
  /** Source: the next bytes of it. */
  data: 4,
  /** Source: its next bytes are those of the file that the target has, from there on. */
  copy: 5,
  /** Source: it is whole, and that is the MAC of all of it. */
  end: 6,
  /** Source: it cannot be had, or was changed meanwhile. */
  lost: 7,
  /** Source: all of a small file. */
  small: 8,
  /** Target: the content of the entry `index`, from `from` on. */
  want: 16,
  /** Target: so many entries have been compared, and everything wanted of them was said. */
  compared: 17,
  /** Target: pieces of the file that it has, in order; of the want that follows. */
  chunks: 18,
  /** Target: something that was done or is to be done, or refused. */
  report: 19,
  /** Target: what has been done so far, as in its result. */
  progress: 20,
  /** Target: the last item. */
  result: 21,
} as const;
export type SyncItemKind = keyof typeof syncItemKind;

/** Every limit of what is said, in one place. */
export const syncLimits = {
  /** Items of one block, before compression. */
  maxBlockBytes: 256 * 1024,
  /** Content in one item, or a piece of a manifest. */
  maxDataBytes: 128 * 1024,
  /** A file up to this size travels in one item. */
  maxSmallBytes: 64 * 1024,
  /** Entries told and not yet compared, and so files asked for and not yet sent: what both hold of a tree. */
  maxEntriesAhead: 16_384,
  /** JSON of all rules. */
  maxRulesBytes: 6 * 1024 * 1024,
  /** JSON of a report, a count or a loss. */
  maxReportBytes: 32 * 1024,
} as const;

export const syncBlockHeaderBytes = 9;
export const syncItemHeaderBytes = 5;
/** GMAC under a key of its own (`packages/platform/src/sync/content-mac.ts`): both have so many. */
export const syncMacBytes = 16;
const syncDigestBytes = 32;
/** Length (u32) and SHA-256 of a piece. */
export const syncChunkBytes = 4 + syncDigestBytes;

/** Items that are JSON, at most `maxReportBytes`. */
export type SyncJsonKind = 'lost' | 'report' | 'progress' | 'result';

/** Items that are bytes and nothing else, at most `maxDataBytes`. */
export type SyncPieceKind = 'rules' | 'rules_end' | 'entries' | 'entries_end' | 'data' | 'chunks';

export type SyncPiece = {
  readonly [Kind in SyncPieceKind]: { readonly kind: Kind; readonly bytes: Uint8Array };
}[SyncPieceKind];

export type SyncItem =
  | SyncPiece
  | { readonly kind: 'copy'; readonly offset: number; readonly length: number }
  | { readonly kind: 'end'; readonly mac: Uint8Array }
  | { readonly kind: 'small'; readonly index: number; readonly bytes: Uint8Array }
  | { readonly kind: 'want'; readonly index: number; readonly from: number }
  | { readonly kind: 'file'; readonly index: number; readonly from: number; readonly key: Uint8Array }
  | { readonly kind: 'compared'; readonly count: number }
  | { readonly kind: SyncJsonKind; readonly value: unknown };

const utf8 = new TextEncoder();
const strictUtf8 = new TextDecoder('utf-8', { fatal: true });

/** Room that an item takes in a block. */
export function syncItemBytes(item: SyncItem): number {
  return syncItemHeaderBytes + payloadBytes(item);
}

function payloadBytes(item: SyncItem): number {
  switch (item.kind) {
    case 'small':
      return 4 + item.bytes.byteLength;
    case 'rules':
    case 'rules_end':
    case 'entries':
    case 'entries_end':
    case 'data':
    case 'chunks':
      return item.bytes.byteLength;
    case 'file':
      return 12 + syncMacBytes;
    case 'want':
      return 12;
    case 'copy':
      return 16;
    case 'end':
      return syncMacBytes;
    case 'compared':
      return 4;
    default:
      throw new RemoteError('internal', `an item ${item.kind} is made by syncJsonItem`);
  }
}

/** Writes an item at `at` and gives where it ends. The room was asked for by `syncItemBytes`. */
export function writeSyncItem(into: Uint8Array, at: number, item: SyncItem): number {
  const length = payloadBytes(item);
  const view = new DataView(into.buffer, into.byteOffset + at, syncItemHeaderBytes + length);
  view.setUint8(0, syncItemKind[item.kind]);
  view.setUint32(1, length);
  const start = at + syncItemHeaderBytes;
  switch (item.kind) {
    case 'small':
      view.setUint32(syncItemHeaderBytes, item.index);
      into.set(item.bytes, start + 4);
      break;
    case 'rules':
    case 'rules_end':
    case 'entries':
    case 'entries_end':
    case 'data':
    case 'chunks':
      into.set(item.bytes, start);
      break;
    case 'file':
    case 'want':
      view.setUint32(syncItemHeaderBytes, item.index);
      view.setBigUint64(syncItemHeaderBytes + 4, BigInt(item.from));
      if (item.kind === 'file') into.set(item.key, start + 12);
      break;
    case 'copy':
      view.setBigUint64(syncItemHeaderBytes, BigInt(item.offset));
      view.setBigUint64(syncItemHeaderBytes + 8, BigInt(item.length));
      break;
    case 'end':
      into.set(item.mac, start);
      break;
    case 'compared':
      view.setUint32(syncItemHeaderBytes, item.count);
      break;
    default:
      break;
  }
  return start + length;
}

/** An item whose payload is JSON, encoded whole. Throws `internal` where it is over its limit: its maker cuts what is long. */
export function syncJsonItem(kind: SyncJsonKind, value: unknown): Uint8Array {
  const payload = utf8.encode(JSON.stringify(value));
  if (payload.byteLength > syncLimits.maxReportBytes)
    throw new RemoteError('internal', `an item ${kind} of ${payload.byteLength} bytes is too long`);
  const bytes = new Uint8Array(syncItemHeaderBytes + payload.byteLength);
  bytes[0] = syncItemKind[kind];
  new DataView(bytes.buffer).setUint32(1, payload.byteLength);
  bytes.set(payload, syncItemHeaderBytes);
  return bytes;
}

const kindNames: ReadonlyMap<number, SyncItemKind> = new Map(
  Object.entries(syncItemKind).map(([name, kind]) => [kind, name as SyncItemKind]),
);

/** The items of a block, their bytes as views into it. Throws `protocol_error`. */
export function* readSyncItems(block: Uint8Array): Generator<SyncItem, void, void> {
  for (let at = 0; at < block.byteLength; ) {
    if (block.byteLength - at < syncItemHeaderBytes)
      throw broken('item_bytes', block.byteLength - at, 'a block ends in an item');
    const view = new DataView(block.buffer, block.byteOffset + at);
    const kind = kindNames.get(view.getUint8(0));
    const length = view.getUint32(1);
    const start = at + syncItemHeaderBytes;
    if (kind === undefined) throw broken('item_kind', view.getUint8(0), 'unknown kind of item');
    if (start + length > block.byteLength) throw broken('item_bytes', length, 'a block ends in an item');
    yield readItem(kind, block.subarray(start, start + length));
    at = start + length;
  }
}

function readItem(kind: SyncItemKind, payload: Uint8Array): SyncItem {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const size = payload.byteLength;
  switch (kind) {
    case 'small':
      if (size < 4) throw broken('item_bytes', size, 'a small file has an index');
      if (size > 4 + syncLimits.maxSmallBytes) throw broken('item_bytes', size, 'a small file is larger');
      return { kind, index: view.getUint32(0), bytes: payload.subarray(4) };
    case 'rules':
    case 'rules_end':
    case 'entries':
    case 'entries_end':
    case 'data':
      if (size > syncLimits.maxDataBytes) throw broken('item_bytes', size, 'an item is too long');
      return { kind, bytes: payload };
    case 'chunks':
      if (size % syncChunkBytes !== 0 || size > syncLimits.maxDataBytes)
        throw broken('item_bytes', size, 'pieces are not whole');
      return { kind, bytes: payload };
    case 'file':
      exactly(kind, size, 12 + syncMacBytes);
      return {
        kind,
        index: view.getUint32(0),
        from: safe(view.getBigUint64(4)),
        key: payload.subarray(12),
      };
    case 'want':
      exactly(kind, size, 12);
      return { kind, index: view.getUint32(0), from: safe(view.getBigUint64(4)) };
    case 'copy':
      exactly(kind, size, 16);
      return { kind, offset: safe(view.getBigUint64(0)), length: safe(view.getBigUint64(8)) };
    case 'end':
      exactly(kind, size, syncMacBytes);
      return { kind, mac: payload };
    case 'compared':
      exactly(kind, size, 4);
      return { kind, count: view.getUint32(0) };
    case 'lost':
    case 'report':
    case 'progress':
    case 'result':
      if (size > syncLimits.maxReportBytes) throw broken('item_bytes', size, `a ${kind} is too long`);
      return { kind, value: parseJson(kind, payload) };
  }
}

function exactly(kind: string, size: number, wanted: number): void {
  if (size !== wanted) throw broken('item_bytes', size, `an item ${kind} has ${wanted} bytes`);
}

function safe(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    throw broken('item_number', String(value), 'a number of an item is over 2^53 - 1');
  return Number(value);
}

function parseJson(kind: string, payload: Uint8Array): unknown {
  try {
    return JSON.parse(strictUtf8.decode(payload));
  } catch (error) {
    throw new RemoteError('protocol_error', `an item ${kind} is not JSON`, {}, error);
  }
}
