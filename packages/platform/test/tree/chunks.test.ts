import { writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { type Chunk, chunkLimits, chunksOf } from '@codex-remote/platform/tree';
import { expect, test } from 'vitest';
import { scratch } from './trees.ts';

async function chunks(content: Uint8Array): Promise<Chunk[]> {
  const path = join(scratch(), 'f');
  writeFileSync(path, content);
  const file = await open(path);
  const all: Chunk[] = [];
  for await (const some of chunksOf(file)) all.push(...some);
  await file.close();
  return all;
}

/** The same bytes in every run. */
function noise(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

const digests = (all: readonly Chunk[]): string[] =>
  all.map(({ sha256 }) => Buffer.from(sha256).toString('hex'));

test('chunks follow one another, within their limits, and are about as large as is wanted', async () => {
  const content = noise(5_000_000);
  const all = await chunks(content);
  let at = 0;
  for (const { offset, length } of all) {
    expect(offset).toBe(at);
    expect(length).toBeLessThanOrEqual(chunkLimits.maxBytes);
    at += length;
  }
  expect(at).toBe(content.byteLength);
  expect(all.slice(0, -1).every(({ length }) => length >= chunkLimits.minBytes)).toBe(true);
  expect(content.byteLength / all.length).toBeGreaterThan(40_000);
  expect(content.byteLength / all.length).toBeLessThan(100_000);
});

test('an insertion changes the chunks around it alone', async () => {
  const content = noise(5_000_000);
  const changed = Buffer.concat([
    content.subarray(0, 2_000_000),
    Buffer.from('inserted'),
    content.subarray(2_000_000),
  ]);
  const before = new Set(digests(await chunks(content)));
  const after = digests(await chunks(changed));
  expect(after.filter((digest) => !before.has(digest)).length).toBeLessThanOrEqual(3);
});

test('a file without content has no chunk, one that says nothing new has the largest', async () => {
  expect(await chunks(Buffer.alloc(0))).toEqual([]);
  expect((await chunks(Buffer.alloc(1_000_000)))[0]?.length).toBe(chunkLimits.maxBytes);
});
