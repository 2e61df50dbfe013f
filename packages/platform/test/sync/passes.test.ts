import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { stagingName } from '../../src/tree/index.ts';
import { snapshot } from './snapshot.ts';
import { TwoTrees } from './two-trees.ts';

const mb = 1024 * 1024;

let trees: TwoTrees;
beforeEach(() => {
  trees = new TwoTrees();
});
afterEach(() => trees.close());

const from = (...names: string[]): string => join(trees.from, ...names);
const to = (...names: string[]): string => join(trees.to, ...names);

test('a tree is made like another: content, modes, times and links; a second pass sends nothing', async () => {
  mkdirSync(from('a/b'), { recursive: true });
  writeFileSync(from('a/b/small'), 'small');
  writeFileSync(from('a/empty'), '');
  writeFileSync(from('a/-big'), randomBytes(3 * mb));
  writeFileSync(from('run.sh'), '#!/bin/sh\n', { mode: 0o755 });
  writeFileSync(Buffer.concat([Buffer.from(from()), Buffer.from('/no-utf8-\xff', 'latin1')]), 'x');
  symlinkSync('a/b/small', from('link'));
  utimesSync(from('run.sh'), 1_600_000_000.123_456, 1_600_000_000.123_456);
  chmodSync(from('a/b'), 0o750);

  const first = await trees.pass();
  expect(first).toMatchObject({
    error: undefined,
    counts: { files: 5, directories: 2, links: 1, refused: 0 },
  });
  expect(snapshot(trees.to)).toEqual(snapshot(trees.from));
  expect(existsSync(to(stagingName))).toBe(false);

  const second = await trees.pass();
  expect(second.counts).toMatchObject({
    files: 0,
    directories: 0,
    links: 0,
    changed: 0,
    unchanged: 8,
    bytes: 0,
  });
  expect(second.sent).toBeLessThan(1000);
});

test('a pass that breaks after any number of bytes is gone on with: nothing twice, nothing half, nothing left', async () => {
  const big = randomBytes(2 * mb);
  writeFileSync(from('big'), big);
  for (let i = 0; i < 40; i++) writeFileSync(from(`small-${i}`), randomBytes(2_000));
  let reused = 0;
  for (let cuts = 0, cutAt = 100; ; cuts++, cutAt = Math.ceil(cutAt * 1.9)) {
    const passed = await trees.pass({ cutAt });
    const there = existsSync(trees.to) ? readdirSync(trees.to) : [];
    for (const name of there)
      if (name !== stagingName)
        expect(readFileSync(to(name)).equals(readFileSync(from(name))), name).toBe(true);
    reused += passed.counts?.reused ?? 0;
    if (!passed.error) {
      expect(cuts).toBeGreaterThan(5);
      break;
    }
    expect(passed.error.code).toBe('connection_reset');
  }
  expect(snapshot(trees.to)).toEqual(snapshot(trees.from));
  expect(reused).toBeGreaterThan(mb / 2);
  expect(readdirSync(trees.to)).not.toContain(stagingName);
});

test('of a large file that was changed in its middle little is sent', async () => {
  const content = randomBytes(8 * mb);
  writeFileSync(from('big'), content);
  await trees.pass();
  const changed = Buffer.concat([content.subarray(0, 3 * mb), randomBytes(5_000), content.subarray(3 * mb)]);
  writeFileSync(from('big'), changed);
  const { counts, sent } = await trees.pass();
  expect(readFileSync(to('big')).equals(changed)).toBe(true);
  expect(counts).toMatchObject({ files: 1, bytes: changed.byteLength });
  expect(counts?.reused).toBeGreaterThan(7 * mb);
  expect(sent).toBeLessThan(mb);
});

test('a pass that breaks in the middle of a changed large file goes on in it', async () => {
  const content = randomBytes(4 * mb);
  writeFileSync(from('big'), content);
  await trees.pass();
  const changed = Buffer.concat([randomBytes(2 * mb), content, randomBytes(2 * mb)]);
  writeFileSync(from('big'), changed);
  expect((await trees.pass({ cutAt: 3 * mb })).error?.code).toBe('connection_reset');
  expect(readFileSync(to('big')).equals(content)).toBe(true);
  const { counts, sent } = await trees.pass();
  expect(readFileSync(to('big')).equals(changed)).toBe(true);
  expect(counts?.reused).toBeGreaterThan(5 * mb);
  expect(sent).toBeLessThan(2.5 * mb);
});

test('what compresses well is sent compressed, what does not as it is', async () => {
  writeFileSync(from('text'), 'the same line again\n'.repeat(200_000));
  expect((await trees.pass()).sent).toBeLessThan(100_000);
  writeFileSync(from('noise'), randomBytes(4 * mb));
  const { sent } = await trees.pass();
  expect(sent).toBeGreaterThan(4 * mb);
  expect(sent).toBeLessThan(4.02 * mb);
});

test('a file that changes while it is sent is refused by name, and the others arrive', async () => {
  writeFileSync(from('changing'), Buffer.alloc(3 * mb));
  writeFileSync(from('other'), 'other');
  const { counts, reports } = await trees.pass({ told: () => appendFileSync(from('changing'), 'more') });
  expect(counts).toMatchObject({ files: 1, refused: 1 });
  expect(reports).toContainEqual(
    expect.objectContaining({ do: 'refuse', path: 'changing', code: 'file_changed' }),
  );
  expect(readdirSync(trees.to)).toEqual(['other']);
  expect((await trees.pass()).counts).toMatchObject({ files: 1, refused: 0 });
  expect(snapshot(trees.to)).toEqual(snapshot(trees.from));
});

test('a file that cannot be written is refused by name, and the others arrive', async () => {
  mkdirSync(to('in-the-way/full'), { recursive: true });
  writeFileSync(to('in-the-way/full/x'), 'x');
  writeFileSync(from('in-the-way'), randomBytes(200_000));
  writeFileSync(from('other'), 'other');
  const { counts, reports } = await trees.pass();
  expect(counts).toMatchObject({ files: 1, refused: 1 });
  expect(reports).toContainEqual(expect.objectContaining({ do: 'refuse', path: 'in-the-way' }));
  expect(readFileSync(to('other'), 'utf8')).toBe('other');
  expect(readFileSync(to('in-the-way/full/x'), 'utf8')).toBe('x');
});

test('a dry run tells what would be done and does nothing', async () => {
  writeFileSync(from('new'), 'new');
  mkdirSync(to());
  writeFileSync(to('old'), 'old');
  const { counts, reports } = await trees.pass({ dryRun: true, delete: true });
  expect(counts).toMatchObject({ files: 1, removed: 1, bytes: 3 });
  expect(reports.map(({ do: done, path }) => `${done} ${path}`).sort()).toEqual(['remove old', 'send new']);
  expect(readdirSync(trees.to)).toEqual(['old']);
  expect((await trees.pass({ delete: true })).counts).toMatchObject({ files: 1, removed: 1 });
  expect(readdirSync(trees.to)).toEqual(['new']);
});

test('with a checksum a file of the same size and time is found to be another', async () => {
  for (const [path, text] of [
    [from('f'), 'one'],
    [to('f'), 'two'],
  ] as const) {
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, text);
    utimesSync(path, 1_600_000_000, 1_600_000_000);
  }
  expect((await trees.pass()).counts).toMatchObject({ files: 0 });
  expect((await trees.pass({ checksum: true })).counts).toMatchObject({ files: 1 });
  expect(readFileSync(to('f'), 'utf8')).toBe('one');
});
