import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Action, bytePath, compareTree, type Entry } from '@codex-remote/platform/tree';
import { describe, expect, test } from 'vitest';
import { synced } from './applied.ts';
import { grow, paths, scratch } from './trees.ts';

function said(actions: readonly Action[]): string[] {
  return actions.map((action) => `${action.do} ${'path' in action ? action.path : action.entry.path}`);
}

function pair(): { from: string; to: string } {
  const dir = scratch();
  const [from, to] = [join(dir, 'from'), join(dir, 'to')];
  mkdirSync(from);
  return { from, to };
}

test('a tree that is the same needs nothing, one that differs only what differs', async () => {
  const { from, to } = pair();
  grow(from, { 'a/b': '1', c: '22', l: { link: 'a/b' }, e: null });
  expect(said(await synced(from, to))).toEqual(['make a', 'send a/b', 'send c', 'make e', 'link l']);
  expect(await synced(from, to)).toEqual([]);
  writeFileSync(join(from, 'c'), '333');
  chmodSync(join(from, 'a/b'), 0o755);
  chmodSync(join(from, 'e'), 0o700);
  expect(said(await synced(from, to))).toEqual(['chmod a/b', 'send c', 'chmod e']);
  expect(await synced(from, to)).toEqual([]);
  expect(statSync(join(to, 'a/b')).mode & 0o777).toBe(0o755);
});

test('a dry run says the same and writes nothing', async () => {
  const { from, to } = pair();
  grow(from, { 'a/b': '1' });
  expect(said(await synced(from, to, { dryRun: true }))).toEqual(['make a', 'send a/b']);
  expect(existsSync(to)).toBe(false);
});

test('size and time tell a change; with checksums the content does, and a time alone is only set', async () => {
  const { from, to } = pair();
  grow(from, { a: 'old', b: 'same' });
  await synced(from, to);
  writeFileSync(join(to, 'a'), 'new');
  utimesSync(join(to, 'a'), 1e9, 1e9);
  utimesSync(join(to, 'b'), 2e9, 2e9);
  expect(said(await synced(from, to, { dryRun: true }))).toEqual(['send b']);
  expect(said(await synced(from, to, { checksum: true }))).toEqual(['send a', 'chmod b']);
  expect(await synced(from, to, { checksum: true })).toEqual([]);
  expect(readFileSync(join(to, 'a'), 'utf8')).toBe('old');
});

describe('what is not in the source', () => {
  test('stays, unless it is to be removed, and then goes content first', async () => {
    const { from, to } = pair();
    grow(from, { keep: '' });
    grow(to, { 'x/y/z': '', 'x/w': '', keep: '' });
    expect(await synced(from, to)).toEqual([]);
    expect(said(await synced(from, to, { delete: true }))).toEqual([
      'remove x/w',
      'remove x/y/z',
      'remove x/y',
      'remove x',
    ]);
    expect(await paths(to)).toEqual(['keep']);
  });

  test('stays where it is ignored by either side, excluded, a repository, or .git', async () => {
    const { from, to } = pair();
    grow(from, { '.gitignore': 'build/\n*.o\n', 'src/a': '', 'src/.gitignore': 'gen\n' });
    grow(to, {
      'build/out': '',
      'src/x.o': '',
      'src/gen/y': '',
      'src/old': '',
      'data/.gitignore': 'big\n',
      'data/big': '',
      'data/small': '',
      'logs/l': '',
      '.git/config': '',
      'vendor/lib/.git/config': '',
      'vendor/lib/code': '',
      'vendor/x': '',
    });
    const rules = [{ kind: 'exclude', pattern: 'logs' }] as const;
    expect(said(await synced(from, to, { delete: true, rules }))).toEqual([
      'send .gitignore',
      'send src/.gitignore',
      'send src/a',
      'remove src/old',
      'remove data/.gitignore',
      'remove data/small',
      'skip vendor/lib',
      'remove vendor/x',
    ]);
    for (const name of [
      'build/out',
      'src/x.o',
      'src/gen/y',
      'data/big',
      'logs/l',
      '.git/config',
      'vendor/lib/code',
    ])
      expect(existsSync(join(to, name)), name).toBe(true);
  });

  test('is ignored by what is above the source in its repository, and by the list of that repository', async () => {
    const { from: top, to } = pair();
    execFileSync('git', ['init', '-q', top]);
    grow(top, { '.gitignore': '/sub/build\n*.log\n', 'sub/a': '' });
    writeFileSync(join(top, '.git/info/exclude'), 'private\n');
    grow(to, { 'build/x': '', 'c.log': '', private: '', other: '' });
    const actions = await synced(join(top, 'sub'), to, { delete: true });
    expect(said(actions)).toEqual(['send a', 'remove other']);
  });

  test('stays where the source has it and could not read it', async () => {
    const { from, to } = pair();
    grow(from, { 'a/b': '', out: { link: '/etc' } });
    grow(to, { 'out/x': '' });
    execFileSync('mkfifo', [join(from, 'pipe')]);
    grow(to, { pipe: 'a file here' });
    expect(said(await synced(from, to, { delete: true }))).toEqual(['make a', 'send a/b']);
    expect(await paths(to)).toEqual(['a', 'a/b', 'out', 'out/x', 'pipe']);
  });

  test('stays when the source breaks off', async () => {
    const { to } = pair();
    grow(to, { 'a/extra': '', 'b/extra': '', top: '' });
    const folder = (path: string): Entry => ({ path, type: 'directory', mode: 0o755, size: 0, mtimeUs: 0 });
    async function* broken(): AsyncGenerator<readonly Entry[]> {
      yield [folder('a')];
      throw new Error('the connection broke');
    }
    const actions: Action[] = [];
    const comparing = async () => {
      for await (const some of compareTree(bytePath(to), broken(), { ignore: true, delete: true }))
        actions.push(...some);
    };
    await expect(comparing()).rejects.toThrow('the connection broke');
    expect(said(actions)).toEqual([]);
  });
});

describe('something else in the place of an entry', () => {
  test('files and links make way, for a folder too', async () => {
    const { from, to } = pair();
    grow(from, { 'a/b': '1', l: '2', f: { link: 'l' } });
    grow(to, { a: 'a file', l: { link: 'a' }, f: 'x' });
    await synced(from, to);
    expect(await synced(from, to)).toEqual([]);
  });

  test('a folder makes way only where what is not told is removed, and all of it may go', async () => {
    const { from, to } = pair();
    grow(from, { a: '1' });
    grow(to, { 'a/b': '' });
    expect(await synced(from, to)).toMatchObject(
      [{ do: 'refuse', path: 'a', why: /--delete/ }].map(matching),
    );
    expect(said(await synced(from, to, { delete: true }))).toEqual(['remove a/b', 'remove a', 'send a']);
    expect(readFileSync(join(to, 'a'), 'utf8')).toBe('1');
  });

  test('[row 94] a FIFO is neither waited for nor removed', async () => {
    const { from, to } = pair();
    grow(from, { 'a/b': '', f: '' });
    mkdirSync(to);
    execFileSync('mkfifo', [join(to, 'a'), join(to, 'f')]);
    expect(said(await synced(from, to, { delete: true }))).toEqual(['refuse a', 'refuse a/b', 'refuse f']);
  });
});

/** A pattern in the place of a text. */
function matching<T extends { why: RegExp }>(action: T) {
  return { ...action, why: expect.stringMatching(action.why) };
}

test('[row 94] names that are one where case does not count are refused, the first of them is written', async () => {
  const { from, to } = pair();
  const nfd = Buffer.from('e\u0301').toString('latin1');
  grow(from, { README: '1', readme: '2', é: '3', 'e\u0301': '4', 'D/a': '', 'd/b': '' });
  const actions = await synced(from, to, { foldsNames: true });
  const refused = actions.filter((action) => action.do === 'refuse').map((action) => action.path);
  expect(refused).toEqual(['d', 'd/b', 'readme', bytePath('é')]);
  expect(said(actions)).toContain(`send ${nfd}`);
  expect(await synced(from, join(to, '../both'))).toHaveLength(8);
});

test('[row 94] a link that would leave the tree over one that is there is refused', async () => {
  const { from, to } = pair();
  grow(from, { x: { link: 'l/y' }, 'd/z': { link: '../x' } });
  grow(to, { '../outside/y': '', l: { link: '../outside' } });
  expect(said(await synced(from, to))).toEqual(['make d', 'link d/z', 'refuse x']);
});

test('[row 94] a file that has other names is replaced, not changed', async () => {
  const { from, to } = pair();
  grow(from, { a: 'x' });
  await synced(from, to);
  const outside = join(to, '../outside');
  linkSync(join(to, 'a'), outside);
  chmodSync(join(from, 'a'), 0o777);
  await synced(from, to);
  expect(statSync(join(to, 'a')).mode & 0o777).toBe(0o777);
  expect(statSync(outside)).toMatchObject({ nlink: 1, mode: 0o100644 });
});

test('what is held back is told and not made', async () => {
  const { from, to } = pair();
  grow(from, { '.envrc': '', a: '' });
  const heldBack = ({ path }: Entry) => (path === '.envrc' ? 'it runs by itself' : undefined);
  expect(said(await synced(from, to, { heldBack }))).toEqual(['refuse .envrc', 'send a']);
  expect(await paths(to)).toEqual(['a']);
});

test('a file where the tree is to be is told as that', async () => {
  const { from, to } = pair();
  writeFileSync(to, '');
  await expect(synced(from, to)).rejects.toMatchObject({ code: 'file_exists' });
  await expect(synced(from, to, { dryRun: true })).rejects.toMatchObject({ code: 'not_directory' });
});
