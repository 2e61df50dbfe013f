import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type ExecRecord,
  encodeRecord,
  maxRecordPayloadBytes,
  RecordParser,
  RemoteError,
  recordHeaderBytes,
  writeRecordHeader,
} from '../src/wire/index.ts';

const stream = fc.integer({ min: 0, max: 255 });
const offset = fc.maxSafeNat();
const records: fc.Arbitrary<ExecRecord> = fc.oneof(
  fc.record({ kind: fc.constant('data'), stream, offset, bytes: fc.uint8Array({ maxLength: 200 }) }),
  fc.record({ kind: fc.constant('time'), stream, offset, epochMs: fc.maxSafeNat() }),
  fc.record({ kind: fc.constant('gap'), stream, offset, missing: fc.maxSafeNat() }),
  fc.record({ kind: fc.constant('event'), value: fc.jsonValue() }),
) as fc.Arbitrary<ExecRecord>;

function concat(parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

function kept(record: ExecRecord): ExecRecord {
  return record.kind === 'data' ? { ...record, bytes: record.bytes.slice() } : record;
}

describe('records', () => {
  test('come back as they were, in whatever pieces they arrive', () => {
    fc.assert(
      fc.property(
        fc.array(records, { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1 }),
        (sent, sizes) => {
          const bytes = concat(sent.map(encodeRecord));
          const parser = new RecordParser();
          const got: ExecRecord[] = [];
          for (let at = 0, piece = 0; at < bytes.byteLength; piece++) {
            const size = sizes[piece % sizes.length] ?? 1;
            for (const record of parser.push(bytes.slice(at, at + size))) got.push(kept(record));
            at += size;
          }
          expect(parser.atBoundary).toBe(true);
          expect(JSON.stringify(got)).toBe(JSON.stringify(sent));
        },
      ),
    );
  });

  test('in parts: every byte at its offset, nothing of a payload kept, and the rest as it was', () => {
    const sized = fc.oneof(
      records,
      fc.record({
        kind: fc.constant('data' as const),
        stream,
        offset: fc.nat(),
        bytes: fc.uint8Array({ minLength: 500, maxLength: 2000 }),
      }),
    ) as fc.Arbitrary<ExecRecord>;
    fc.assert(
      fc.property(
        fc.array(sized, { maxLength: 10 }),
        fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1 }),
        (sent, sizes) => {
          const bytes = concat(sent.map(encodeRecord));
          const parser = new RecordParser({ split: true });
          const got: ExecRecord[] = [];
          for (let at = 0, piece = 0; at < bytes.byteLength; piece++) {
            const size = sizes[piece % sizes.length] ?? 1;
            const chunk = bytes.slice(at, at + size);
            for (const record of parser.push(chunk)) {
              const part = kept(record);
              if (part.kind === 'data')
                expect(part.bytes.byteLength).toBeLessThanOrEqual(size + recordHeaderBytes);
              got.push(part);
            }
            at += size;
          }
          expect(parser.atBoundary).toBe(true);
          const whole = (list: readonly ExecRecord[]) =>
            list.filter((record) => record.kind !== 'data' || record.bytes.byteLength > 0);
          const flat = (list: readonly ExecRecord[]) =>
            whole(list).flatMap((record) =>
              record.kind === 'data'
                ? [...record.bytes].map((byte, i) => `${record.stream} ${record.offset + i} ${byte}`)
                : [JSON.stringify(record)],
            );
          expect(flat(got)).toEqual(flat(sent));
        },
      ),
    );
  });

  test('a record of which a part was given is not a boundary', () => {
    const parser = new RecordParser({ split: true });
    const bytes = encodeRecord({ kind: 'data', stream: 1, offset: 5, bytes: new Uint8Array([1, 2, 3]) });
    const parts = [...parser.push(bytes.subarray(0, 18)), ...parser.push(bytes.subarray(18))];
    expect(parts.map((part) => (part.kind === 'data' ? [part.offset, part.bytes.byteLength] : []))).toEqual([
      [5, 2],
      [7, 1],
    ]);
    expect([...parser.push(bytes.subarray(0, 17))]).toHaveLength(1);
    expect(parser.atBoundary).toBe(false);
  });

  test('a stream that was cut inside a record is not at a boundary', () => {
    const bytes = encodeRecord({ kind: 'event', value: { ended: null } });
    for (let size = 1; size < bytes.byteLength; size++) {
      const parser = new RecordParser();
      expect([...parser.push(bytes.subarray(0, size))]).toEqual([]);
      expect(parser.atBoundary).toBe(false);
    }
  });

  test('any bytes give records or a protocol_error, and nothing is allocated for a claimed length', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const parser = new RecordParser();
        try {
          for (const record of parser.push(bytes)) {
            if (record.kind === 'data') expect(record.bytes.buffer).toBe(bytes.buffer);
          }
        } catch (error) {
          if (!(error instanceof RemoteError)) throw error;
          expect(error.code).toBe('protocol_error');
        }
      }),
      { numRuns: 1000 },
    );
  });

  const header = (kind: number, length: number, at = 0): Uint8Array => {
    const bytes = new Uint8Array(recordHeaderBytes + Math.min(length, 64));
    writeRecordHeader(bytes, 0, kind, 1, length, at);
    return bytes;
  };
  const hugeOffset = header(1, 1);
  hugeOffset[8] = 0x7f;
  const reserved = header(1, 1);
  reserved[2] = 1;

  test.each([
    ['a length over the limit', header(1, maxRecordPayloadBytes + 1)],
    ['an offset over 2^53', hugeOffset],
    ['reserved bits', reserved],
    ['an unknown kind', header(9, 1)],
    ['a time of 7 bytes', header(2, 7)],
    ['a gap of 9 bytes', header(3, 9)],
    ['an event that is not JSON', header(4, 5)],
  ])('%s breaks a rule', (_title, bytes) => {
    const parse = () => [...new RecordParser().push(bytes)];
    expect(parse).toThrow(expect.objectContaining({ code: 'protocol_error' }));
  });

  test('a header written in place reads like an encoded record', () => {
    const bytes = new Uint8Array(recordHeaderBytes + 3);
    writeRecordHeader(bytes, 0, 1, 2, 3, 77);
    expect([...new RecordParser().push(bytes)]).toEqual([
      { kind: 'data', stream: 2, offset: 77, bytes: new Uint8Array(3) },
    ]);
  });
});
