import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { rows } from '../../faults/rows.ts';
import { rowTests, withRowTable } from '../../faults/table.ts';

const proven = new Set(rowTests().flatMap((found) => found.rows));

test('the matrix has every row of its three groups, in order', () => {
  expect(rows.map(({ row }) => row)).toEqual(Array.from({ length: 66 }, (_, i) => i + 1));
});

test('a row has a test with its number, or an argument why there can be none', () => {
  const bare = rows.filter(
    ({ row, argued, pending }) => !proven.has(row) && argued === undefined && !pending,
  );
  expect(bare.map(({ row }) => row)).toEqual([]);
});

test('a row that has a test or an argument is not pending any more', () => {
  const done = rows.filter(
    ({ row, argued, pending }) => pending && (proven.has(row) || argued !== undefined),
  );
  expect(done.map(({ row }) => row)).toEqual([]);
});

test('a title names only rows that there are', () => {
  const known = new Set(rows.map(({ row }) => row));
  expect([...proven].filter((row) => !known.has(row))).toEqual([]);
});

test('docs/reliability.md is current (npm run docs)', () => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/reliability.md'), 'utf8');
  expect(page).toBe(withRowTable(page));
});
