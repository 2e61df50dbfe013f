import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { hostileRows } from '../../faults/hostile-rows.ts';
import { rows as faultRows } from '../../faults/rows.ts';
import { rowTests, withRowTable } from '../../faults/table.ts';

const root = join(import.meta.dirname, '../../..');
const read = (name: string) => readFileSync(join(root, `docs/${name}.md`), 'utf8');
const page = read('reliability');
const rows = [...faultRows, ...hostileRows];
const proven = new Set(rowTests().flatMap((found) => found.rows));

test('the matrix has every row of its five groups, in order', () => {
  expect(rows.map(({ row }) => row)).toEqual(Array.from({ length: 107 }, (_, i) => i + 1));
});

test('a row has a test with its number, or an argument why there can be none', () => {
  const bare = rows.filter(({ row, argued }) => !proven.has(row) && argued === undefined);
  expect(bare.map(({ row }) => row)).toEqual([]);
});

test('a title names only rows that there are', () => {
  const known = new Set(rows.map(({ row }) => row));
  expect([...proven].filter((row) => !known.has(row))).toEqual([]);
});

test('each promise says by what it is kept, where it ends, and is shown by rows and files that there are', () => {
  const promises = page.split(/^### (?=\d+\. )/m).slice(1);
  expect(promises.map((text) => Number.parseInt(text, 10))).toEqual(
    Array.from({ length: 13 }, (_, i) => i + 1),
  );
  for (const text of promises) {
    const [promise = ''] = text.split('\n## ');
    for (const label of ['kept by', 'shown by', 'ends']) expect(promise).toContain(`- **${label}**: `);
    const shown = /- \*\*shown by\*\*: rows? ([\d, \n]+)/.exec(promise)?.[1] ?? '';
    const numbers = [...shown.matchAll(/\d+/g)].map(Number);
    expect(numbers.length, promise).toBeGreaterThan(0);
    for (const number of numbers)
      expect(
        rows.some(({ row }) => row === number),
        `row ${number}`,
      ).toBe(true);
    for (const [, file = ''] of promise.matchAll(/`((?:agent|controller|packages|test)\/[^`]+\.test\.ts)`/g))
      expect(existsSync(join(root, file)), file).toBe(true);
  }
});

test.each(['reliability', 'security'] as const)('docs/%s.md is current (npm run docs)', (name) => {
  expect(read(name)).toBe(withRowTable(name, read(name)));
});
