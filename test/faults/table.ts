import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { hostileRows } from './hostile-rows.ts';
import { type Row, rows } from './rows.ts';

const root = join(import.meta.dirname, '../..');
const places = ['agent', 'controller', 'packages', 'test'];
const end = '<!-- end -->';

/** The pages that have a part of the matrix, each with the file that its rows are from. */
const pages = {
  reliability: { rows, from: 'rows.ts' },
  security: { rows: hostileRows, from: 'hostile-rows.ts' },
} as const;

/** A test as its title names the rows that it proves. */
export interface RowTest {
  readonly file: string;
  readonly title: string;
  readonly rows: readonly number[];
}

/** Every test of the repository with `[row N]` in its title, by file and place in it. */
export function rowTests(): RowTest[] {
  const files = places.flatMap((place) => testFiles(place));
  return files.flatMap((file) =>
    titlesOf(readFileSync(join(root, file), 'utf8')).map((text) => ({
      file,
      // What a title is completed with stands in the test.
      title: text
        .replaceAll(/\s*\[row \d+\]/g, '')
        .replaceAll(/%[sdj]/g, '…')
        .trim(),
      rows: [...text.matchAll(/\[row (\d+)\]/g)].map((match) => Number(match[1])),
    })),
  );
}

function testFiles(folder: string): string[] {
  const entries = readdirSync(join(root, folder), { withFileTypes: true });
  return entries
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory())
        return entry.name === 'node_modules' || entry.name === 'dist' ? [] : testFiles(path);
      return entry.name.endsWith('.test.ts') ? [path] : [];
    });
}

/** Titles are string literals on one line; that of the `describe` around a test goes before its own. */
function titlesOf(source: string): string[] {
  const literal = /(['"`])((?:\\.|(?!\1)[^\\\n])*\[row \d+\](?:\\.|(?!\1)[^\\\n])*)\1/g;
  let around: string | undefined;
  return source.split('\n').flatMap((line) => {
    if (line.startsWith('describe')) around = /(['"`])(.*?)\1/.exec(line)?.[2];
    else if (line === '});' || line === ');') around = undefined;
    const titles = [...line.matchAll(literal)].map((match) => match[2] ?? '');
    return titles.map((title) => [around, title].filter(Boolean).join(': ').replaceAll(/\\(.)/g, '$1'));
  });
}

/** A page of `docs/` with its table made anew; the rest is written by hand. */
export function withRowTable(name: keyof typeof pages, page: string): string {
  const { rows, from } = pages[name];
  const begin = `<!-- made by npm run docs from test/faults/${from} and the titles of tests: begin -->`;
  const at = page.indexOf(begin);
  const to = page.indexOf(end, at);
  if (at < 0 || to < 0) throw new Error(`docs/${name}.md has lost the marks of its table`);
  return `${page.slice(0, at)}${begin}\n${rowTable(rows)}${page.slice(to)}`;
}

function rowTable(rows: readonly Row[]): string {
  const tests = rowTests();
  const lines = rows.map((row) => {
    const cells = [row.row, row.fault, row.sees, shownBy(row, tests)];
    return `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|')).join(' | ')} |\n`;
  });
  return `| # | fault | what users see | shown by |\n| --- | --- | --- | --- |\n${lines.join('')}`;
}

function shownBy(row: Row, tests: readonly RowTest[]): string {
  const proofs = tests.filter((test) => test.rows.includes(row.row));
  const shown = proofs.map((test) => `\`${test.file}\`: ${test.title}`);
  if (row.argued !== undefined) shown.push(`not injected: ${row.argued}`);
  return shown.join('<br>');
}
