import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../../..');

/** What each package may import of ours; docs/architecture.md has the same table. */
const arrows: Readonly<Record<string, readonly string[]>> = {
  'packages/protocol': [],
  'packages/platform': ['protocol'],
  'packages/client': ['protocol', 'platform'],
  'packages/cli': ['protocol', 'platform', 'client'],
  agent: ['protocol', 'platform'],
  controller: ['protocol', 'platform'],
};

function sources(dir: string): string[] {
  return readdirSync(dir).flatMap((name) => {
    const path = join(dir, name);
    if (statSync(path).isDirectory()) return name === 'node_modules' || name === 'dist' ? [] : sources(path);
    return name.endsWith('.ts') ? [path] : [];
  });
}

function importsOf(path: string): string[] {
  const text = readFileSync(path, 'utf8');
  return [...text.matchAll(/\b(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1] ?? '');
}

test.each(Object.entries(arrows))('%s imports only what its arrows allow', (folder, allowed) => {
  for (const path of sources(join(root, folder, 'src'))) {
    for (const target of importsOf(path)) {
      const ours = /^@codex-remote\/([a-z]+)/.exec(target)?.[1];
      if (ours) expect(allowed, `${relative(root, path)} imports ${target}`).toContain(ours);
      if (!target.startsWith('.')) continue;
      const inside = relative(join(root, folder, 'src'), resolve(dirname(path), target));
      expect(inside.startsWith('..'), `${relative(root, path)} leaves its package by ${target}`).toBe(false);
    }
  }
});

/** Folders inside a package, as a graph: `a/x.ts` importing `b/y.ts` is an edge from a to b. */
test.each(Object.keys(arrows))('%s has no circle between its folders', (folder) => {
  const src = join(root, folder, 'src');
  const edges = new Map<string, Set<string>>();
  const folderOf = (path: string): string => relative(src, dirname(path)) || '.';
  for (const path of sources(src)) {
    for (const target of importsOf(path)) {
      if (!target.startsWith('.')) continue;
      const to = folderOf(resolve(dirname(path), target));
      const from = folderOf(path);
      if (from !== to && from !== '.' && to !== '.') edges.set(from, (edges.get(from) ?? new Set()).add(to));
    }
  }
  const walk = (at: string, path: readonly string[]): void => {
    expect(path, `a circle: ${[...path, at].join(' -> ')}`).not.toContain(at);
    for (const next of edges.get(at) ?? []) walk(next, [...path, at]);
  };
  for (const start of edges.keys()) walk(start, []);
});

test('ws is imported in one place a side, and nowhere else', () => {
  const users = Object.keys(arrows)
    .flatMap((folder) => sources(join(root, folder, 'src')))
    .filter((path) => importsOf(path).includes('ws'))
    .map((path) => relative(root, path))
    .sort();
  expect(users).toEqual([
    'agent/src/connect/dial.ts',
    'controller/src/gateway/gateway.ts',
    'packages/platform/src/ws-transport.ts',
  ]);
});
