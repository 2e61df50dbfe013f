import { existsSync, lstatSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { bytePath } from '../../src/tree/entry.ts';
import { Folders } from '../../src/tree/folders.ts';
import { grow, scratch } from './trees.ts';

describe.each([
  ['by descriptors', existsSync('/proc/self/fd')],
  ['by paths that are checked', false],
])('folders %s', (_, byDescriptor) => {
  function foldersOf(root: string): Folders {
    const folders = new Folders(bytePath(root), byDescriptor);
    onTestFinished(() => folders.close());
    return folders;
  }

  test('lead to what is in the tree, also over more of them than are kept open', () => {
    const root = scratch();
    const folders = foldersOf(root);
    for (let n = 0; n < 150; n++) {
      mkdirSync(folders.at(`d${n}`));
      writeFileSync(folders.at(`d${n}/f`), '');
    }
    for (let n = 0; n < 150; n++) expect(lstatSync(folders.at(`d${n}/f`)).isFile()).toBe(true);
    expect(existsSync(join(root, 'd149/f'))).toBe(true);
  });

  test('[row 94] lead through no link, and not into what has become one', () => {
    const root = join(scratch(), 'root');
    grow(root, { 'd/e/f': '', '../outside/e/f': '', l: { link: '../outside' } });
    const refused = expect.objectContaining({ code: 'not_directory' });
    const folders = foldersOf(root);
    expect(() => folders.at('l/e/f')).toThrow(refused);
    renameSync(join(root, 'd'), join(root, 'away'));
    symlinkSync('../outside', join(root, 'd'));
    expect(() => folders.at('d/e/f')).toThrow(refused);
  });

  test('a tree that is a link itself is the one that it leads to', () => {
    const dir = scratch();
    grow(dir, { 'real/f': '', l: { link: 'real' } });
    expect(foldersOf(join(dir, 'l')).root).toBe(join(dir, 'real'));
    expect(() => new Folders(bytePath(join(dir, 'real/f')), byDescriptor)).toThrow(
      expect.objectContaining({ code: 'not_directory' }),
    );
  });
});
