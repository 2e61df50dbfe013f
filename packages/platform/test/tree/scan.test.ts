import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mtimeUsOf, secondsOf } from '@codex-remote/platform/tree';
import { expect, test } from 'vitest';
import { grow, paths, scanned, scratch } from './trees.ts';

function repository(dir: string): void {
  execFileSync('git', ['init', '-q', dir]);
}

test('a tree is told folder before content, siblings by their bytes', async () => {
  const root = scratch();
  grow(root, { 'b/x': '1', 'a.txt': 'hello', 'a/z': '', 'a-': '', empty: null, l: { link: 'a/z' } });
  expect(await paths(root)).toEqual(['a', 'a/z', 'a-', 'a.txt', 'b', 'b/x', 'empty', 'l'].sort(byTree));
  const [entry] = (await scanned(root)).filter(({ path }) => path === 'a.txt');
  expect(entry).toEqual({ path: 'a.txt', type: 'file', mode: 0o644, size: 5, mtimeUs: 1e15 });
});

/** A folder's content follows it at once. */
function byTree(a: string, b: string): number {
  const [x, y] = [a.split('/'), b.split('/')];
  const at = x.findIndex((name, i) => name !== y[i]);
  if (at < 0) return x.length - y.length;
  return (x[at] ?? '') < (y[at] ?? '') ? -1 : 1;
}

test('a time that was set from a tree is read as the same', async () => {
  const root = scratch();
  const file = join(root, 'f');
  writeFileSync(file, '');
  const some = Array.from({ length: 200 }, (_, i) => 1_600_000_000_000_000 + i * 1_234_567_891_237);
  for (const us of [1, 999_999, 0, ...some]) {
    utimesSync(file, 0, secondsOf(us));
    expect(mtimeUsOf(statSync(file))).toBe(us);
  }
});

test('names that are no UTF-8, have newlines or begin with a dash are names', async () => {
  const root = scratch();
  writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0xff, 0x0a])]), '');
  grow(root, { '-rf': '', 'é/ü': 'x' });
  const utf8 = (text: string) => Buffer.from(text).toString('latin1');
  expect(await paths(root)).toEqual(['-rf', utf8('é'), utf8('é/ü'), '\xff\n']);
});

test('git says what is left out in a repository: tracked files stay, its .git does not travel', async () => {
  const root = scratch();
  repository(root);
  grow(root, {
    '.gitignore': 'build/\n*.log\n',
    'build/a': '1',
    'build/kept': '1',
    'sub/.gitignore': '!x.log\n',
    'sub/x.log': '',
    'sub/y.log': '',
    'nested/own.log': '',
    'nested/.gitignore': '*.o\n',
    'nested/a.o': '',
  });
  repository(join(root, 'nested'));
  execFileSync('git', ['-C', root, 'add', '-f', 'build/kept']);
  const all = ['.gitignore', 'build', 'build/kept', 'nested', 'nested/.gitignore', 'nested/own.log'];
  expect(await paths(root)).toEqual([...all, 'sub', 'sub/.gitignore', 'sub/x.log']);
  expect(await paths(root, { ignore: false })).toHaveLength(12);
});

test('outside of repositories the .gitignore files that are there mean the same', async () => {
  const root = scratch();
  grow(root, {
    '.gitignore': 'build/\n*.log\n/only-here\n',
    'build/a': '1',
    'only-here': '',
    'sub/only-here': '',
    'sub/.gitignore': '!x.log\n',
    'sub/x.log': '',
    'sub/y.log': '',
  });
  const all = ['.gitignore', 'sub', 'sub/.gitignore', 'sub/only-here', 'sub/x.log'];
  expect(await paths(root)).toEqual(all);
});

test('a folder that git leaves out altogether is all there when it is asked for itself', async () => {
  const root = scratch();
  repository(root);
  grow(root, { '.gitignore': 'build/\n', 'build/a/b': '' });
  expect(await paths(join(root, 'build'))).toEqual(['a', 'a/b']);
});

test.each([true, false])('what is named wins over what is ignored (in a repository: %s)', async (inside) => {
  const root = scratch();
  if (inside) repository(root);
  grow(root, {
    '.gitignore': 'build/\nnode_modules/\n*.log\n',
    'build/out/a.log': '',
    'build/tmp/x': '',
    'node_modules/p/i.js': '',
    'src/a': '',
    'src/b.log': '',
  });
  const include = (pattern: string) => ({ kind: 'include', pattern }) as const;
  const exclude = (pattern: string) => ({ kind: 'exclude', pattern }) as const;
  const rules = [include('build/out'), exclude('src/a')];
  expect(await paths(root, { rules })).toEqual([
    '.gitignore',
    'build',
    'build/out',
    'build/out/a.log',
    'src',
  ]);
  expect(await paths(root, { rules: [include('node_modules'), exclude('src')] })).toEqual([
    '.gitignore',
    'node_modules',
    'node_modules/p',
    'node_modules/p/i.js',
  ]);
});

test('[row 94] what cannot travel is named, and is there for the other side to leave alone', async () => {
  const root = scratch();
  grow(root, { ok: '', out: { link: '../x' }, absolute: { link: '/etc' }, 'dir/up': { link: '../ok' } });
  execFileSync('mkfifo', [join(root, 'pipe')]);
  mkdirSync(join(root, '.GIT'));
  const skipped: string[] = [];
  const entries = await scanned(root, { skipped: (path) => skipped.push(path) });
  expect(skipped.sort()).toEqual(['.GIT', 'absolute', 'out', 'pipe']);
  const types = Object.fromEntries(entries.map(({ path, type }) => [path, type]));
  expect(types).toEqual({
    absolute: 'other',
    dir: 'directory',
    'dir/up': 'symlink',
    ok: 'file',
    out: 'other',
    pipe: 'other',
  });
});

test('a folder that cannot be read is named and does not count as empty', async () => {
  const root = scratch();
  grow(root, { 'closed/a': '', open: '' });
  chmodSync(join(root, 'closed'), 0);
  const skipped: string[] = [];
  const entries = await scanned(root, { skipped: (path) => skipped.push(path) });
  chmodSync(join(root, 'closed'), 0o700);
  if (process.getuid?.() === 0) return;
  expect(skipped).toEqual(['closed']);
  expect(entries.map(({ path, type }) => [path, type])).toEqual([
    ['closed', 'other'],
    ['open', 'file'],
  ]);
});

test('with checksums each file has the digest of its content', async () => {
  const root = scratch();
  grow(root, { a: 'hello' });
  const [entry] = await scanned(root, { checksum: true });
  expect(Buffer.from(entry?.sha256 ?? []).toString('hex')).toMatch(/^2cf24dba5fb0a30e/);
});

test('a scan that is aborted ends', async () => {
  const root = scratch();
  grow(root, { a: '' });
  const signal = AbortSignal.abort();
  await expect(paths(root, { checksum: true, signal })).rejects.toMatchObject({ code: 'cancelled' });
  rmSync(root, { recursive: true });
  await expect(paths(root)).rejects.toMatchObject({ code: 'file_not_found' });
  expect(() => statSync(root)).toThrow();
});
