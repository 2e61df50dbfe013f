import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { bytePath, type Entry, TreeReader, TreeWriter } from '@codex-remote/platform/tree';
import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import { synced } from './applied.ts';
import { grow, paths, scanned, scratch } from './trees.ts';

const file = (path: string, size = 3): Entry => ({ path, type: 'file', mode: 0o640, size, mtimeUs: 1e15 });
const folder = (path: string): Entry => ({ path, type: 'directory', mode: 0o755, size: 0, mtimeUs: 0 });
const bytes = Buffer.from('abc');

function writerOf(root: string): TreeWriter {
  const writer = new TreeWriter(bytePath(root));
  onTestFinished(() => writer.close());
  return writer;
}

/** What can be in a tree, by names that are drawn: bytes as they come. */
type Node = { name: string; mode: number } & ({ content: string } | { inside: Node[] } | { link: string });
const name = fc
  .uint8Array({ minLength: 1, maxLength: 5 })
  .map((drawn) => `n${Buffer.from(drawn).toString('latin1').replaceAll(/[/\0]/g, '-')}`);
const { tree } = fc.letrec<{ tree: Node[]; node: Node }>((tie) => ({
  tree: fc.uniqueArray(tie('node'), { selector: (node) => node.name, maxLength: 5 }),
  node: fc.oneof(
    fc.record({
      name,
      mode: fc.constantFrom(0o644, 0o755, 0o400, 0o600),
      content: fc.string({ maxLength: 20 }).map((text) => text.repeat(700)),
    }),
    fc.record({ name, mode: fc.constant(0), link: name }),
    fc.record({
      name,
      mode: fc.constantFrom(0o755, 0o555, 0o700),
      inside: fc.oneof({ depthSize: 'small' }, fc.constant<Node[]>([]), tie('tree')),
    }),
  ),
}));

function plant(root: Buffer, nodes: readonly Node[]): void {
  for (const node of nodes) {
    const path = Buffer.concat([root, Buffer.from('/'), Buffer.from(node.name, 'latin1')]);
    if ('link' in node) symlinkSync(Buffer.from(node.link, 'latin1'), path);
    else if ('content' in node) {
      writeFileSync(path, node.content);
      utimesSync(path, 1e9, 1.5e9 + node.content.length / 8);
      chmodSync(path, node.mode);
    } else {
      mkdirSync(path);
      plant(path, node.inside);
      chmodSync(path, node.mode);
    }
  }
}

test('whatever two trees are, one becomes the other, and then nothing is to be done', async () => {
  const dir = scratch();
  let count = 0;
  // So that they can be removed.
  onTestFinished(() => void execFileSync('chmod', ['-R', 'u+rwX', dir]));
  await fc.assert(
    fc.asyncProperty(tree, tree, async (before, after) => {
      const at = join(dir, String(++count));
      const [from, to] = [join(at, 'from'), join(at, 'to')];
      mkdirSync(from, { recursive: true });
      mkdirSync(to);
      plant(Buffer.from(from), after);
      plant(Buffer.from(to), before);
      const actions = await synced(from, to, { delete: true, ignore: false });
      expect(actions.filter((action) => action.do === 'refuse' || action.error)).toEqual([]);
      expect(await scanned(to, { checksum: true })).toEqual(await scanned(from, { checksum: true }));
      expect(await synced(from, to, { delete: true })).toEqual([]);
      expect(readdirSync(to).filter((left) => left.startsWith('.cr-'))).toEqual([]);
    }),
    { numRuns: 60 },
  );
});

test.each(['../x', '/etc/x', 'a/../../x', '.git/config', 'a/.GIT/hooks/x', 'a//x', '', '.', '.cr-sync/p'])(
  '[row 94] nothing is written, linked or removed as %j, whoever asks',
  async (path) => {
    const root = join(scratch(), 'root');
    const writer = writerOf(root);
    writer.makeDirectory(folder('a'));
    const refused = expect.objectContaining({ code: 'sync_path' });
    expect(() => writer.writeSmall(file(path), bytes)).toThrow(refused);
    expect(() => writer.makeDirectory(folder(path))).toThrow(refused);
    expect(() => writer.remove(path)).toThrow(refused);
    expect(() => writer.chmod(file(path))).toThrow(refused);
    expect(() => writer.link({ ...file(path), type: 'symlink', target: 'a' })).toThrow(refused);
    await expect(writer.stage(file(path), 0)).rejects.toEqual(refused);
    await writer.close();
    expect(await paths(root)).toEqual(['a']);
  },
);

test('[row 94] a link that leads out is not made, and nothing is written through one that is there', async () => {
  const dir = scratch();
  const root = join(dir, 'root');
  grow(dir, { 'outside/kept': 'kept' });
  const writer = writerOf(root);
  expect(() => writer.link({ ...file('l'), type: 'symlink', target: '../outside' })).toThrow(/leads out/);
  symlinkSync('../outside', join(root, 'l'));
  const refused = expect.objectContaining({ code: 'not_directory' });
  expect(() => writer.writeSmall(file('l/x'), bytes)).toThrow(refused);
  expect(() => writer.remove('l/kept')).toThrow(refused);
  expect(() => writer.makeDirectory(folder('l/d'))).toThrow(refused);
  const reader = new TreeReader(bytePath(root));
  expect(() => reader.readSmall(file('l/kept', 4))).toThrow(refused);
  reader.close();
  // The name itself is there to be replaced.
  writer.makeDirectory(folder('l'));
  writer.writeSmall(file('l/x'), bytes);
  expect(readdirSync(join(dir, 'outside'))).toEqual(['kept']);
});

test('[row 94] a folder that is swapped for a link while files are written leads nobody out', async () => {
  const dir = scratch();
  const root = join(dir, 'root');
  grow(dir, { 'outside/kept': 'kept' });
  const writer = writerOf(root);
  writer.makeDirectory(folder('d'));
  for (let round = 0; round < 200; round++) {
    if (round % 2 === 0) {
      renameSync(join(root, 'd'), join(root, 'away'));
      symlinkSync('../outside', join(root, 'd'));
    } else {
      rmSync(join(root, 'd'));
      renameSync(join(root, 'away'), join(root, 'd'));
    }
    try {
      // Every other time nothing is known of the folder yet.
      const fresh = round % 4 < 2 ? writer : new TreeWriter(bytePath(root));
      fresh.writeSmall(file(`d/f${round}`), bytes);
      fresh.remove('d/kept');
      if (fresh !== writer) await fresh.close();
    } catch (error) {
      expect(error).toMatchObject({ code: 'not_directory' });
    }
  }
  expect(readdirSync(join(dir, 'outside'))).toEqual(['kept']);
});

test('a file has its old content or its new one, and what is half-written is not part of the tree', async () => {
  const root = scratch();
  grow(root, { f: 'old' });
  const writer = writerOf(root);
  const staged = await writer.stage(file('f', 6), 0);
  await staged.write(Buffer.from('new'));
  expect(readFileSync(join(root, 'f'), 'utf8')).toBe('old');
  expect(await paths(root)).toEqual(['f']);
  await staged.write(Buffer.from('est'));
  await staged.commit();
  expect(readFileSync(join(root, 'f'), 'utf8')).toBe('newest');
  expect(statSync(join(root, 'f'))).toMatchObject({ mode: 0o100640, mtimeMs: 1e12 });
  await writer.close();
  expect(readdirSync(root)).toEqual(['f']);
});

test('a part that was left is gone on with by who is sent the same file, and by nobody else', async () => {
  const root = scratch();
  const writer = writerOf(root);
  const one = await writer.stage(file('f', 6), 0);
  await one.write(Buffer.from('abc'));
  // Two at once have a part each.
  const two = await writer.stage(file('f', 6), 0);
  await two.write(Buffer.from('xyzxyz'));
  await two.discard();
  await one.leave();
  await one.leave();
  await writer.close();

  const next = writerOf(root);
  expect(next.partBytes(file('f', 7))).toBe(0);
  expect(next.partBytes(file('f', 6))).toBe(3);
  const rest = await next.stage(file('f', 6), 3);
  const pieces: string[] = [];
  for await (const piece of rest.readBack()) pieces.push(Buffer.from(piece).toString());
  expect(pieces).toEqual(['abc']);
  await rest.write(Buffer.from('def'));
  await rest.commit();
  expect(readFileSync(join(root, 'f'), 'utf8')).toBe('abcdef');
  await next.close();
  expect(readdirSync(root)).toEqual(['f']);
});

test('two who write into one tree are not in the way of each other when the first is done', async () => {
  const root = scratch();
  const [one, two] = [writerOf(root), writerOf(root)];
  one.writeSmall(file('a'), bytes);
  await one.close();
  two.writeSmall(file('b'), bytes);
  const third = writerOf(root);
  await two.close();
  const staged = await third.stage(file('c'), 0);
  await staged.write(bytes);
  await staged.commit();
  await third.close();
  expect(readdirSync(root)).toEqual(['a', 'b', 'c']);
});

test('parts that nobody came back for go after a week', async () => {
  const root = scratch();
  const writer = writerOf(root);
  for (const name of ['old', 'young']) {
    const staged = await writer.stage(file(name, 6), 0);
    await staged.write(bytes);
    await staged.leave();
  }
  await writer.close();
  const [ignored, first = ''] = readdirSync(join(root, '.cr-sync')).sort();
  expect(ignored).toBe('.gitignore');
  const weekAgo = Date.now() / 1000 - 8 * 24 * 3600;
  utimesSync(join(root, '.cr-sync', first), weekAgo, weekAgo);
  await writerOf(root).close();
  expect(readdirSync(join(root, '.cr-sync'))).toHaveLength(2);
});

test('pieces of the file that is replaced are copied from it', async () => {
  const root = scratch();
  writeFileSync(join(root, 'f'), 'the old content');
  const writer = writerOf(root);
  const staged = await writer.stage(file('f', 11), 0);
  await staged.write(Buffer.from('new '));
  let copied = '';
  for await (const piece of staged.copyBase(8, 7)) copied += Buffer.from(piece).toString();
  expect(copied).toBe('content');
  await staged.commit();
  expect(readFileSync(join(root, 'f'), 'utf8')).toBe('new content');
});

test('a folder whose owner may not write to it has its mode again in the end', async () => {
  const root = scratch();
  const writer = writerOf(root);
  writer.makeDirectory({ ...folder('d'), mode: 0o500 });
  writer.writeSmall(file('d/a'), bytes);
  await writer.close();
  expect(statSync(join(root, 'd')).mode & 0o777).toBe(0o500);
  const later = writerOf(root);
  later.writeSmall(file('d/b'), bytes);
  later.remove('d/a');
  await later.close();
  expect(statSync(join(root, 'd')).mode & 0o777).toBe(0o500);
  chmodSync(join(root, 'd'), 0o700);
  expect(readdirSync(join(root, 'd'))).toEqual(['b']);
});

test('something else in the place of the staging folder is left alone', () => {
  const dir = scratch();
  grow(dir, { 'root/a': '', 'outside/b': '' });
  symlinkSync('../outside', join(dir, 'root/.cr-sync'));
  expect(() => new TreeWriter(bytePath(join(dir, 'root')))).toThrow(
    expect.objectContaining({ code: 'file_exists' }),
  );
  expect(readlinkSync(join(dir, 'root/.cr-sync'))).toBe('../outside');
});

test('a link with the name of its ignore file is not written through', () => {
  const dir = scratch();
  grow(dir, { 'root/a': '', 'root/.cr-sync/b': '', 'outside/kept': 'theirs' });
  symlinkSync('../../outside/kept', join(dir, 'root/.cr-sync/.gitignore'));
  const writer = new TreeWriter(bytePath(join(dir, 'root')));
  onTestFinished(() => writer.close());
  expect(readFileSync(join(dir, 'outside/kept'), 'utf8')).toBe('theirs');
});

test('a file that is changed, or is none any more, is not read as what was told of it', async () => {
  const root = scratch();
  grow(root, { f: 'abc', 'd/x': '' });
  const [, , entry] = await scanned(root);
  if (entry?.path !== 'f') throw new Error('the scan tells another order');
  const reader = new TreeReader(bytePath(root));
  onTestFinished(() => reader.close());
  expect(Buffer.from(reader.readSmall(entry)).toString()).toBe('abc');
  writeFileSync(join(root, 'f'), 'abd');
  expect(() => reader.readSmall(entry)).toThrow(expect.objectContaining({ code: 'file_changed' }));
  rmSync(join(root, 'f'));
  symlinkSync('d/x', join(root, 'f'));
  expect(() => reader.readSmall(entry)).toThrow(expect.objectContaining({ code: 'file_type' }));
  await expect(reader.openFile(entry)).rejects.toMatchObject({ code: 'file_type' });
});
