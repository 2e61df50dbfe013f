import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { failpoints } from '@codex-remote/platform';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../../..');

test('what is released has no failpoint, nor the variables that set them', () => {
  const dist = join(root, 'packages/cli/dist');
  const programs = readdirSync(dist).filter((name) => /\.[cm]js$/.test(name));
  expect(programs).toHaveLength(7);
  for (const name of programs) {
    const text = readFileSync(join(dist, name), 'latin1');
    for (const word of ['CR_FP', ...failpoints])
      expect(text.includes(word), `${name} contains ${word}`).toBe(false);
  }
});

test('a failpoint is called somewhere, and each has its other side', () => {
  const sources = ['packages/platform/src', 'packages/client/src', 'agent/src', 'controller/src']
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((path) =>
        join(root, folder, path),
      ),
    )
    .filter((path) => path.endsWith('.ts') && !path.endsWith('/failpoint.ts'))
    .map((path) => readFileSync(path, 'utf8'))
    .join('');
  expect(failpoints.filter((name) => !sources.includes(`'${name}'`))).toEqual([]);
  const names = new Set<string>(failpoints);
  expect(names.size).toBe(failpoints.length);
  const before = failpoints.filter((name) => name.endsWith('.before'));
  expect(before.filter((name) => !names.has(name.replace(/before$/, 'after')))).toEqual([]);
});
